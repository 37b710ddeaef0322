"""What came of a sweep: tables, figures, summaries."""
