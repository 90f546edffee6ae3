"""Results to Redis, S3 and webhooks, with retries."""
