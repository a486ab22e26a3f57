-- Admin roles. A row is one grant; it is never deleted, only revoked.
create table impersonation_admin_roles (
    id integer primary key,
    user_id text not null,
    role text not null check (role in ('support', 'admin', 'superadmin')),
    granted_by text,
    granted_at integer not null,
    revoked_by text,
    revoked_at integer
);

create unique index impersonation_admin_roles_held on impersonation_admin_roles (user_id)
where revoked_at is null;

-- Who has allowed support access, until when (rule S8). A row is one permission, never deleted.
create table impersonation_consents (
    id integer primary key,
    user_id text not null,
    allowed_until integer not null,
    granted_at integer not null,
    withdrawn_at integer
);

create unique index impersonation_consents_held on impersonation_consents (user_id)
where withdrawn_at is null;
