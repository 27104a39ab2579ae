"""Run folders as tables and pages."""
