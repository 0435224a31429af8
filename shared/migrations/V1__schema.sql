-- Everything that must last. Ids are made by the functions, so that a statement sent twice finds what it did before.
--
-- What grows with use is keyed by its user first, and every statement names the user: so these tables can be spread
-- over partitions or machines as they are, and one user's rows lie together. What must be unique over all users, such
-- as a mobile number, stays in small tables.

-- A row is made when its number is proved.
create table users (
    id            uuid primary key,
    mobile        text not null unique,
    number_hash   bytea, -- of the number, keyed: what its deleted accounts did today counts for this one too
    name          text,
    email         text,
    password_hash text,
    -- Goes up when all sessions end. A session of an earlier generation has ended, whether or not its row was removed.
    generation    bigint not null default 0,
    created_at    timestamptz not null default now(),
    -- Counts the rooms opened within an hour, for their limit.
    new_rooms       integer not null default 0,
    new_rooms_since timestamptz not null default now()
);

create table sessions (
    user_id         uuid not null references users on delete cascade,
    id              uuid not null,
    generation      bigint not null default 0, -- the user's when the session was opened
    created_at      timestamptz not null default now(),
    last_used_at    timestamptz not null default date_trunc('hour', now(), 'utc'), -- to the hour
    device          text, -- what the sign-in's User-Agent names
    -- Counts the refreshes of an hour, for their limit.
    refreshes       integer not null default 0,
    refreshes_since timestamptz not null default now(),
    primary key (user_id, id)
);

-- Spent tokens stay until they expire, so that using one again is noticed.
create table refresh_tokens (
    user_id    uuid not null,
    hash       bytea not null, -- SHA-256; the token itself is never stored
    session_id uuid not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    spent_at   timestamptz,
    successors integer not null default 0, -- how many tokens were given for this one
    primary key (user_id, hash),
    foreign key (user_id, session_id) references sessions (user_id, id) on delete cascade
);

create index on refresh_tokens (user_id, session_id);
create index on refresh_tokens (expires_at);

create table chatrooms (
    user_id         uuid not null references users on delete cascade,
    id              uuid not null,
    title           text not null,
    created_at      timestamptz not null default now(),
    active_at       timestamptz not null default now(),
    last_position   bigint not null default 0, -- of the room's newest message
    -- One room, one worker: who claims it holds it until `answering_until`, and every later write of that worker
    -- carries the `epoch` of its claim.
    answering_until timestamptz,
    epoch           bigint not null default 0,
    woken_at        timestamptz, -- when the sweep last woke it
    primary key (user_id, id)
);

create index on chatrooms (user_id, active_at desc, id desc);

-- A message and its reply are one row: a second reply has nowhere to go.
create table messages (
    user_id         uuid not null,
    id              uuid not null,
    chatroom_id     uuid not null,
    position        bigint not null,
    content         text not null,
    status          text not null default 'queued'
                    check (status in ('queued', 'answering', 'answered', 'failed')),
    -- Its reply is still to come. Statements ask for this column, on the row itself where they change it.
    unsettled       boolean not null generated always as (status in ('queued', 'answering')) stored,
    created_at      timestamptz not null default now(),
    day             date not null generated always as ((created_at at time zone 'utc')::date) stored, -- it counts then
    idempotency_key text, -- forgotten after a day
    claimed_at      timestamptz, -- first; the deadline counts from then
    asked           integer not null default 0, -- how often the model was asked
    lost            integer not null default 0, -- how many workers died with it
    troubles        text[] not null default '{}', -- why it was deferred, each time
    not_before      timestamptz not null default now(), -- the earliest time to ask; later, if it was deferred
    -- The reply while it is written, and the room's epoch when its worker began. Another epoch means another text.
    draft           text,
    draft_epoch     bigint,
    stop_requested_at timestamptz, -- seen at the worker's next checkpoint, or by the next worker
    settled_at      timestamptz,
    reply           text,
    finish_reason   text,
    model           text,
    prompt_tokens   integer,
    reply_tokens    integer,
    failure         text,
    check (unsettled = (settled_at is null)),
    check ((status = 'answered') = (reply is not null)),
    check ((status = 'failed') = (failure is not null)),
    primary key (user_id, id),
    unique (user_id, chatroom_id, position)
    -- No foreign key leads to chatrooms: a deletion must not wait for the messages, of which there may be millions. A
    -- message without its room is gone: every statement reaches messages through their room.
);

create unique index on messages (user_id, idempotency_key) where idempotency_key is not null;
create index unsettled_messages on messages (user_id, chatroom_id, position) where unsettled;
-- For the sweep, which forgets keys that are a day old.
create index on messages (created_at) where idempotency_key is not null;

-- The message that each room's worker is at, or takes next.
create view oldest_unsettled as
select distinct on (user_id, chatroom_id) user_id, chatroom_id, id, not_before
from messages
where unsettled
order by user_id, chatroom_id, position;

-- For the sweep, which counts the users whose messages fail.
create index on messages (settled_at) where failure in ('REJECTED', 'MODEL_UNAVAILABLE', 'MODEL_QUOTA', 'GIVEN_UP');

-- Whose messages are still to be removed: those of a deleted room, or without a room, those of a deleted user.
create table removals (
    user_id      uuid not null,
    chatroom_id  uuid,
    requested_at timestamptz not null default now(),
    unique nulls not distinct (user_id, chatroom_id)
);

create index on removals (requested_at);

-- A user's open streams. A slot whose function died is free when it expires.
create table streams (
    user_id    uuid not null references users on delete cascade,
    slot       integer not null,
    id         uuid not null,
    message_id uuid, -- that it reads
    is_working boolean not null, -- its connection answers the message; others read, and give way to newer ones
    opened_at  timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (user_id, slot)
);

-- What a user did on a UTC day.
create table daily_usage (
    user_id    uuid not null references users on delete cascade,
    day        date not null,
    used       integer not null check (used >= 0), -- messages that count against the day's limit
    accepted   integer not null, -- posts, whatever became of them
    refunded   integer not null default 0, -- messages given back because they failed through no fault of the user's
    tokens     bigint not null default 0, -- of prompts and replies, as the model counts them
    -- The bounds of the plan at the last post.
    refundable integer not null,
    budget     bigint not null,
    primary key (user_id, day)
);

-- What the deleted accounts of a number did on a day, so that signing up again does not begin a new day. The hash is
-- keyed. Kept until midnight UTC.
create table departed_usage (
    number_hash bytea not null,
    day         date not null,
    used        integer not null,
    accepted    integer not null,
    refunded    integer not null,
    tokens      bigint not null,
    primary key (number_hash, day)
);

create index on departed_usage (day);

-- Who a user is to Stripe, and what Stripe said last about the subscription.
create table subscriptions (
    user_id                uuid primary key references users on delete cascade,
    stripe_customer_id     text unique,
    -- Stripe repeats its answer to an idempotency key, even when it is an error or no longer true. The attempt is part
    -- of the key, and goes up when another answer is wanted.
    checkout_attempt       integer not null default 0,
    checkout_session_id    text, -- of this attempt
    checkout_at            timestamptz,
    stripe_subscription_id text,
    status                 text,
    current_period_end     timestamptz,
    cancel_at_period_end   boolean not null default false,
    past_due_since         timestamptz,
    -- Observations of Stripe are numbered in the order in which they begin: this many have begun, and this one is
    -- stored. Only one with a higher number, which began later, may replace it.
    observations           bigint not null default 0,
    observation            bigint not null default 0,
    observed_at            timestamptz
);

-- For what is due to be observed: long not observed, a checkout that never reported back, a period that ended since.
create index on subscriptions (observed_at);
create index on subscriptions (checkout_at);
create index on subscriptions (current_period_end) where current_period_end >= observed_at;

-- Every event, without what it says: a hint to observe, and a record of having observed. Kept for 30 days, or until the
-- user is gone.
create table stripe_events (
    id          text primary key,
    type        text not null,
    customer    text,
    user_id     uuid references users on delete cascade, -- whose customer it is, if anybody's
    received_at timestamptz not null default now(),
    handled_at  timestamptz
);

create index on stripe_events (user_id) where user_id is not null;
create index on stripe_events (received_at);

-- Pro is a subscription that is paid, on trial, or at most three days late.
create view plans as
select users.id as user_id,
       case when subscriptions.status in ('active', 'trialing')
              or subscriptions.status = 'past_due'
                 and subscriptions.past_due_since > now() - interval '3 days'
            then 'pro' else 'basic' end as plan
from users left join subscriptions on subscriptions.user_id = users.id;
