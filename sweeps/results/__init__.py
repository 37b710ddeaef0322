"""Results of a sweep: tables, figures, summaries."""
