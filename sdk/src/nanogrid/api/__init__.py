"""The custom resources ExecutionJob and Function as pydantic models."""
