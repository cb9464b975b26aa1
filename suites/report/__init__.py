"""The tolerance report: built from a run, written as JSON, Markdown and HTML, read back, compared and cited."""
