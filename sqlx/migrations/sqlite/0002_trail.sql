-- The trail, append-only (rule A8). There are no checks on what is written: an event that a check would refuse
-- could never be written, and would hold up all behind it.
create table impersonation_trail (
    -- The order in which events came.
    seq integer primary key,
    id blob not null,
    is_intent integer not null,
    time integer not null,
    name text not null,
    actor text,
    subject text,
    session blob,
    reason text,
    access text,
    method text,
    path text,
    route text,
    status integer,
    outcome text,
    rule text,
    count integer,
    address text,
    user_agent text,
    request_id text,
    "by" text,
    -- Which process wrote it.
    process blob
);

create unique index impersonation_trail_key on impersonation_trail (id, is_intent);
create index impersonation_trail_time on impersonation_trail (time, seq);
create index impersonation_trail_actor on impersonation_trail (actor, time, seq);
create index impersonation_trail_subject on impersonation_trail (subject, time, seq);
create index impersonation_trail_session on impersonation_trail (session, time, seq);
create index impersonation_trail_name on impersonation_trail (name, time, seq);
create index impersonation_trail_intents on impersonation_trail (process) where is_intent;

create trigger impersonation_trail_no_update before update on impersonation_trail
begin
    select raise(abort, 'the trail is append-only: UPDATE is refused');
end;

create trigger impersonation_trail_no_delete before delete on impersonation_trail
begin
    select raise(abort, 'the trail is append-only: DELETE is refused');
end;

-- `insert or replace` deletes without the trigger above.
create trigger impersonation_trail_no_replace before insert on impersonation_trail
when exists (select 1 from impersonation_trail t where t.id = new.id and t.is_intent = new.is_intent)
begin
    select raise(ignore);
end;

-- Which processes write here, and when each was last heard of. Not part of the trail.
create table impersonation_processes (
    id blob primary key not null,
    seen_at integer not null,
    -- Its intents without an outcome have been marked.
    swept_at integer
) without rowid;

-- Acted requests, one row each: an intent with its outcome, or with `unknown` (rule A2), and what needs no
-- intent.
create view impersonation_requests as
select i.id, i.time, o.time as finished_at, i.actor, i.subject, i.session, i.reason, i.access, i.method, i.path,
       i.route, o.status, coalesce(o.outcome, 'unknown') as outcome, i.count, i.address, i.user_agent,
       i.request_id
from impersonation_trail i
left join impersonation_trail o on o.id = i.id and o.is_intent = 0
where i.name = 'impersonation.request' and i.is_intent = 1
union all
select o.id, o.time, o.time, o.actor, o.subject, o.session, o.reason, o.access, o.method, o.path,
       o.route, o.status, o.outcome, o.count, o.address, o.user_agent, o.request_id
from impersonation_trail o
where o.name = 'impersonation.request' and o.is_intent = 0
  and not exists (select 1 from impersonation_trail i where i.id = o.id and i.is_intent = 1);
