-- A shop whose tables let each customer see their own rows only, whoever asks for them: the customer, or an admin
-- who acts as them. The settings come from `Profile::settings()`.
--
-- `create schema shop; set search_path = shop` first, or put it where you like.

-- Who really did it: of an acted request the actor, else the customer.
create function really() returns text language sql stable as $$
    select nullif(current_setting('app.actor_id', true), '')
$$;

create function customer() returns text language sql stable as $$
    -- `true`: not set at all is null, and null is nobody's id. An empty text is nobody as well.
    select nullif(current_setting('app.user_id', true), '')
$$;

create table orders (
    id bigint generated always as identity primary key,
    customer text not null default customer(),
    item text not null,
    is_public boolean not null default false,
    changed_by text
);

alter table orders enable row level security;
-- The owner of a table is not bound by its policies, unless it is told to be.
alter table orders force row level security;

create policy own on orders using (customer = customer()) with check (customer = customer());
-- What anyone may see who was let in by the application at all, the anonymous visitor too.
create policy public on orders for select
    using (is_public and coalesce(current_setting('app.role', true), '') <> '');

create function note_who() returns trigger language plpgsql as $$
begin
    new.changed_by := coalesce(really(), session_user);
    return new;
end $$;

create trigger note_who before insert or update on orders for each row execute function note_who();
