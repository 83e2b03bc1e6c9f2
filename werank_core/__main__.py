"""`python -m werank_core`: the command line."""

if __name__ == "__main__":
    from werank_core.cli import run

    run()
