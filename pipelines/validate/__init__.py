"""Stage `validate`: Great Expectations on the manifest. Only this package imports great_expectations."""

from pipelines.validate.stage import raise_for_validation, validate

__all__ = ["raise_for_validation", "validate"]
