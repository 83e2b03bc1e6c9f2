"""Where queued batches are trained: one supervisor a machine and store, one child process a job."""
