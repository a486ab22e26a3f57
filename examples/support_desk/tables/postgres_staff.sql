-- Who is on the staff, and as what, is in the crate's table of roles: there it is known who gave a role and who took it,
-- and whoever loses one loses their sessions with it. What the shop reads of it:
create view staff as
select user_id, role from impersonation.admin_roles where revoked_at is null;

insert into impersonation.admin_roles (user_id, role, granted_by)
select id, role, case role when 'superadmin' then null else 'root' end
from users where role in ('superadmin', 'admin', 'support');

update users set role = 'customer' where role in ('superadmin', 'admin', 'support');
