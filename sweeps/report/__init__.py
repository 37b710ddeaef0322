"""The report: a sweep's answer, figures and trials as one page that needs no network, as figures, and as PNGs."""
