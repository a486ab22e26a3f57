-- Admin roles. A row is one grant; it is never deleted, only revoked.
create table impersonation.admin_roles (
    id bigint generated always as identity primary key,
    user_id text not null,
    role text not null check (role in ('support', 'admin', 'superadmin')),
    granted_by text,
    granted_at timestamptz not null default now(),
    revoked_by text,
    revoked_at timestamptz
);

create unique index admin_roles_held on impersonation.admin_roles (user_id) where revoked_at is null;
create index admin_roles_revoked on impersonation.admin_roles (revoked_at) where revoked_at is not null;

create function impersonation.role_rank(role text) returns integer language sql immutable as $$
    select case role when 'support' then 10 when 'admin' then 20 when 'superadmin' then 30 else 0 end
$$;

create function impersonation.tell_role() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        perform pg_notify('impersonation', 'role ' || old.role || ' ' || old.user_id);
    elsif old.revoked_at is null and (new.revoked_at is not null or new.role <> old.role) then
        perform pg_notify('impersonation', 'role ' || old.role || ' ' || old.user_id);
    end if;
    return null;
end $$;

create trigger tell after update or delete on impersonation.admin_roles
for each row execute function impersonation.tell_role();

-- Roles are given and taken by superadmins. The very first one is given by nobody: `by_user` is null, and that
-- works only as long as nobody ever had a role.
create function impersonation.check_granter(by_user text) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('impersonation.admin_roles', 0));
    if by_user is null then
        if exists (select from impersonation.admin_roles) then
            raise exception 'there was an admin before: a role has to be given by a superadmin'
                using errcode = 'insufficient_privilege';
        end if;
    elsif not exists (
        select from impersonation.admin_roles
        where user_id = by_user and role = 'superadmin' and revoked_at is null
    ) then
        raise exception 'only a superadmin gives and takes roles' using errcode = 'insufficient_privilege';
    end if;
end $$;

-- Gives `for_user` this role, in place of the one that they may have.
create function impersonation.grant_role(for_user text, new_role text, by_user text) returns void
language plpgsql as $$
begin
    perform impersonation.check_granter(by_user);
    if exists (
        select from impersonation.admin_roles
        where user_id = for_user and role = new_role and revoked_at is null
    ) then
        return;
    end if;
    update impersonation.admin_roles set revoked_at = clock_timestamp(), revoked_by = by_user
    where user_id = for_user and revoked_at is null;
    insert into impersonation.admin_roles (user_id, role, granted_by) values (for_user, new_role, by_user);
end $$;

-- Takes the role of `of_user` away. False when there was none.
create function impersonation.revoke_role(of_user text, by_user text) returns boolean language plpgsql as $$
begin
    if by_user is null then
        raise exception 'a role is taken by a superadmin' using errcode = 'insufficient_privilege';
    end if;
    perform impersonation.check_granter(by_user);
    update impersonation.admin_roles set revoked_at = clock_timestamp(), revoked_by = by_user
    where user_id = of_user and revoked_at is null;
    return found;
end $$;

-- Who has allowed support access, until when (rule S8). A row is one permission, never deleted.
create table impersonation.consents (
    id bigint generated always as identity primary key,
    user_id text not null,
    allowed_until timestamptz not null,
    granted_at timestamptz not null default now(),
    withdrawn_at timestamptz
);

create unique index consents_held on impersonation.consents (user_id) where withdrawn_at is null;

-- `of_user` allows support access until then, in place of what they allowed before.
create function impersonation.allow_support(of_user text, until timestamptz) returns void
language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('impersonation.consents ' || of_user, 0));
    perform impersonation.withdraw_support(of_user);
    insert into impersonation.consents (user_id, allowed_until) values (of_user, until);
end $$;

-- From now on `of_user` allows nothing. False when they did not before.
create function impersonation.withdraw_support(of_user text) returns boolean language plpgsql as $$
begin
    update impersonation.consents set withdrawn_at = clock_timestamp()
    where user_id = of_user and withdrawn_at is null;
    return found;
end $$;
