-- What every process keeps a copy of, and how it learns that the copy is old.
--
-- A change of rules, templates or limits raises its row in the transaction of the change; a worker
-- looks here once per claim.
create table revisions (
    kind     text   not null,
    revision bigint not null default 0,

    constraint revisions_pkey primary key (kind)
);

insert into revisions (kind) values ('rules'), ('templates'), ('limits');

comment on table revisions is 'Raised with every change of what processes keep copies of.';
