"""Ready tasks, one idea a file. Their short names are in core.loading.ready."""
