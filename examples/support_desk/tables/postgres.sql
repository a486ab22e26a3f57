-- The shop's own tables, and the shop as it stands when it opens. Times are microseconds since 1970, in UTC.
create table users (
    id text primary key,
    name text not null,
    email text not null,
    role text not null,
    leads boolean not null,
    opted_out boolean not null,
    password_changed_at bigint
);

create table orders (
    id bigint generated always as identity (start with 1001) primary key,
    -- No foreign key: orders stay when their user is deleted.
    user_id text not null,
    item text not null,
    placed_at bigint not null
);
create index orders_user on orders (user_id, id);

insert into users (id, name, email, role, leads, opted_out) values
    ('root', 'Ruth Okafor', 'root@shop.example', 'superadmin', false, false),
    ('ada', 'Ada Lindqvist', 'ada@shop.example', 'admin', true, false),
    ('abe', 'Abe Sorensen', 'abe@shop.example', 'admin', false, false),
    ('sam', 'Sam Whitlock', 'sam@shop.example', 'support', false, false),
    ('ines', 'Ines Ortega', 'ines@shop.example', 'customer', false, false),
    ('otto', 'Otto Brandt', 'otto@shop.example', 'customer', false, false),
    ('mia', 'Mia Rossi', 'mia@shop.example', 'customer', false, false),
    ('kim', 'Kim Nguyen', 'kim@shop.example', 'customer', false, true),
    ('bot', 'Restock bot', 'bot@shop.example', 'system', false, false);

insert into orders (user_id, item, placed_at) values
    ('ines', 'Cast-iron teapot, 0.9 l', (extract(epoch from now())::bigint - 33 * 86400) * 1000000),
    ('otto', 'Stoneware cup, speckled', (extract(epoch from now())::bigint - 26 * 86400) * 1000000),
    ('kim', 'Linen tea towel, striped', (extract(epoch from now())::bigint - 19 * 86400) * 1000000),
    ('ines', 'Darjeeling first flush, 100 g', (extract(epoch from now())::bigint - 12 * 86400) * 1000000),
    ('mia', 'Bamboo whisk', (extract(epoch from now())::bigint - 5 * 86400) * 1000000);
