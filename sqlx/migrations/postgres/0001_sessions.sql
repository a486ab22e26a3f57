-- Sessions. Times are UTC, with microseconds. No foreign key into the host's tables: what happened outlives
-- its users.
create table impersonation.sessions (
    id uuid primary key,
    actor text not null,
    actor_rank bigint not null,
    subject text not null,
    kind text not null check (kind in ('user', 'anon', 'service')),
    role text,
    access text not null check (access in ('read_only', 'read_write')),
    reason text not null,
    ticket text,
    started_at timestamptz not null,
    expires_at timestamptz not null,
    -- Microseconds; null: no idle limit.
    idle_us bigint,
    last_seen_at timestamptz not null,
    -- When it is over by itself, as it stands now: the earlier of its end and its idle time.
    due_at timestamptz not null,
    ended_at timestamptz,
    ended_reason text,
    -- The event of the end is durable in the trail (rule A1).
    end_confirmed boolean not null default false,
    address text,
    user_agent text,
    check ((ended_at is null) = (ended_reason is null))
);

-- Behind the lock that a start takes: two open sessions of one actor for one subject cannot exist.
create unique index sessions_open on impersonation.sessions (actor, subject) where ended_at is null;
-- What is overdue.
create index sessions_due on impersonation.sessions (due_at) where ended_at is null;
-- Ends whose event may be missing. Whoever ends a session by hand leaves it here.
create index sessions_unconfirmed on impersonation.sessions (ended_at)
where ended_at is not null and not end_confirmed;
-- Lists are ordered by start and id; each filter has an index that gives that order. `sessions_actor` counts
-- the starts of an hour as well.
create index sessions_started on impersonation.sessions (started_at, id);
create index sessions_actor on impersonation.sessions (actor, started_at, id);
create index sessions_subject on impersonation.sessions (subject, started_at, id);
create index sessions_pair on impersonation.sessions (actor, subject, started_at, id);
create index sessions_kind on impersonation.sessions (kind, started_at, id);
create index sessions_open_started on impersonation.sessions (started_at, id) where ended_at is null;

-- Every change is told to every replica (rule S9), whoever makes it: a statement typed by hand, too.
create function impersonation.tell_session() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        perform pg_notify('impersonation', 'started ' || new.id);
    elsif tg_op = 'DELETE' then
        perform pg_notify('impersonation', 'ended ' || old.id || ' session_revoked');
    elsif new.ended_at is not null then
        perform pg_notify('impersonation', 'ended ' || new.id || ' ' || new.ended_reason);
    else
        perform pg_notify('impersonation', 'updated ' || new.id);
    end if;
    return null;
end $$;

create trigger tell
after insert or delete or update of ended_at, access, expires_at on impersonation.sessions
for each row execute function impersonation.tell_session();

-- Refresh tokens that were used, while their session lives.
create table impersonation.spent_tokens (
    session uuid not null,
    token uuid not null,
    primary key (session, token)
);

-- With the rights of its owner, so that whoever may end a session needs no more.
create function impersonation.forget_spent_tokens() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    delete from impersonation.spent_tokens where session = old.id;
    return null;
end $$;

create trigger forget_spent_tokens
after delete or update of ended_at on impersonation.sessions
for each row execute function impersonation.forget_spent_tokens();

-- Replicas that hear of changes, and may serve from memory for three seconds from `seen_at` on (rule S9).
create table impersonation.replicas (
    id uuid primary key,
    seen_at timestamptz not null
);
