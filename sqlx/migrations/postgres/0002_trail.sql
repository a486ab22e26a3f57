-- The trail, one partition a month, append-only (rule A8). There are no checks on what is written: an event
-- that a check would refuse could never be written, and would hold up all behind it.
create sequence impersonation.trail_seq;

create table impersonation.trail (
    -- The order in which events came.
    seq bigint not null default nextval('impersonation.trail_seq'),
    id uuid not null,
    is_intent boolean not null,
    time timestamptz not null,
    name text not null,
    actor text,
    subject text,
    session uuid,
    reason text,
    access text,
    method text,
    path text,
    route text,
    status bigint,
    outcome text,
    rule text,
    count bigint,
    address text,
    user_agent text,
    request_id text,
    "by" text,
    -- Which process wrote it.
    process uuid,
    primary key (id, is_intent, time)
) partition by range (time);

create index trail_time on impersonation.trail (time, seq);
create index trail_actor on impersonation.trail (actor, time, seq);
create index trail_subject on impersonation.trail (subject, time, seq);
create index trail_session on impersonation.trail (session, time, seq);
-- Nearly all events are requests, and found by their time.
create index trail_name on impersonation.trail (name, time, seq) where name <> 'impersonation.request';
create index trail_intents on impersonation.trail (process) where is_intent;

create function impersonation.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the trail is append-only: % is refused', tg_op using errcode = 'insufficient_privilege';
end $$;

create trigger append_only before update or delete or truncate on impersonation.trail
for each statement execute function impersonation.refuse_change();
-- Also where a superuser has set `session_replication_role`.
alter table impersonation.trail enable always trigger append_only;

-- Makes the partition of the month that `at` lies in, where there is none. The writer calls it, ahead of time.
-- It runs with the rights of its owner, so that the application's role needs no more than INSERT and SELECT. It
-- waits for ANALYZE and the like, but not for long: nothing that writes shall hang.
create function impersonation.add_month(at timestamptz) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    first timestamp := date_trunc('month', at at time zone 'UTC');
    part text := 'trail_' || to_char(first, 'YYYY_MM');
begin
    if to_regclass('impersonation.' || part) is not null then
        return;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('impersonation.add_month', 0));
    -- Looked up in the table and not by `to_regclass`: that may have kept its answer of before the lock.
    if exists (
        select from pg_class where relname = part and relnamespace = 'impersonation'::regnamespace
    ) then
        return;
    end if;
    -- Made first and attached then: that waits for no reader and no writer of the other months.
    execute format('create table impersonation.%I (like impersonation.trail including all)', part);
    execute format(
        'create trigger append_only before update or delete or truncate on impersonation.%I
         for each statement execute function impersonation.refuse_change()', part);
    execute format('alter table impersonation.%I enable always trigger append_only', part);
    execute format(
        'alter table impersonation.trail attach partition impersonation.%I for values from (%L) to (%L)',
        part, first::text || '+00', (first + interval '1 month')::text || '+00');
end $$;

select impersonation.add_month(now());
select impersonation.add_month(now() + interval '1 month');

-- Which processes write here, and when each was last heard of. Not part of the trail.
create table impersonation.processes (
    id uuid primary key,
    seen_at timestamptz not null default now(),
    -- Its intents without an outcome have been marked.
    swept_at timestamptz
);

-- Acted requests, one row each: an intent with its outcome, or with `unknown` (rule A2), and what needs no
-- intent. An outcome is looked for from a day before its intent, should the clock have been set back.
create view impersonation.requests as
select i.id, i.time, o.time as finished_at, i.actor, i.subject, i.session, i.reason, i.access, i.method, i.path,
       i.route, o.status, coalesce(o.outcome, 'unknown') as outcome, i.count, i.address, i.user_agent,
       i.request_id
from impersonation.trail i
left join lateral (
    select o.time, o.status, o.outcome
    from impersonation.trail o
    where o.id = i.id and not o.is_intent and o.time > i.time - interval '1 day'
    order by o.outcome = 'unknown', o.time
    limit 1
) o on true
where i.name = 'impersonation.request' and i.is_intent
union all
select o.id, o.time, o.time, o.actor, o.subject, o.session, o.reason, o.access, o.method, o.path,
       o.route, o.status, o.outcome, o.count, o.address, o.user_agent, o.request_id
from impersonation.trail o
where o.name = 'impersonation.request' and not o.is_intent
  and not exists (
      select from impersonation.trail i
      where i.id = o.id and i.is_intent and i.time < o.time + interval '1 day'
  );
