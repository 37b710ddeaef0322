"""The answer of a sweep as numbers and sentences: which values to use, how sure that is, what it costs to be off."""
