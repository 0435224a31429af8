-- What runs on a schedule looks for a few rows in tables that grow.

-- Idempotency keys that are a day old.
create index on messages (created_at) where idempotency_key is not null;

-- Checkouts that never reported back, and periods that ended since Stripe was last asked.
create index on subscriptions (checkout_at);
create index on subscriptions (current_period_end) where current_period_end >= looked_at;
