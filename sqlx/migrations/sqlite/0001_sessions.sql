-- Sessions. Times are microseconds since 1970, in UTC. No foreign key into the host's tables: what happened
-- outlives its users.
create table impersonation_sessions (
    id blob primary key not null,
    actor text not null,
    actor_rank integer not null,
    subject text not null,
    kind text not null check (kind in ('user', 'anon', 'service')),
    role text,
    access text not null check (access in ('read_only', 'read_write')),
    reason text not null,
    ticket text,
    started_at integer not null,
    expires_at integer not null,
    -- Microseconds; null: no idle limit.
    idle_us integer,
    last_seen_at integer not null,
    -- When it is over by itself, as it stands now: the earlier of its end and its idle time.
    due_at integer not null,
    ended_at integer,
    ended_reason text,
    -- The event of the end is durable in the trail (rule A1).
    end_confirmed integer not null default 0,
    address text,
    user_agent text,
    check ((ended_at is null) = (ended_reason is null))
) without rowid;

-- Behind the lock that a start takes: two open sessions of one actor for one subject cannot exist.
create unique index impersonation_sessions_open on impersonation_sessions (actor, subject)
where ended_at is null;
-- What is overdue.
create index impersonation_sessions_due on impersonation_sessions (due_at) where ended_at is null;
-- Ends whose event may be missing. Whoever ends a session by hand leaves it here.
create index impersonation_sessions_unconfirmed on impersonation_sessions (ended_at)
where ended_at is not null and not end_confirmed;
-- Lists are ordered by start and id; each filter has an index that gives that order.
create index impersonation_sessions_started on impersonation_sessions (started_at, id);
create index impersonation_sessions_actor on impersonation_sessions (actor, started_at, id);
create index impersonation_sessions_subject on impersonation_sessions (subject, started_at, id);
create index impersonation_sessions_pair on impersonation_sessions (actor, subject, started_at, id);
create index impersonation_sessions_kind on impersonation_sessions (kind, started_at, id);
create index impersonation_sessions_open_started on impersonation_sessions (started_at, id)
where ended_at is null;

-- Refresh tokens that were used, while their session lives.
create table impersonation_spent_tokens (
    session blob not null,
    token blob not null,
    primary key (session, token)
) without rowid;

create trigger impersonation_forget_spent_tokens after update of ended_at on impersonation_sessions
when new.ended_at is not null
begin
    delete from impersonation_spent_tokens where session = new.id;
end;
