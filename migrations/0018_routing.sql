-- What a decision was made of: the rule, the variant, the version of the template.
alter table notifications
    -- The rule that led to it; null where none did.
    add column rule_id          uuid,
    -- Which of the rule's actions, from 0.
    add column action           smallint,
    -- The side of the rule's test that the user is on.
    add column variant          text,
    -- What stands in, in order, for a channel that cannot deliver.
    add column fallback         text[],
    -- The version of `template` it is told in; 0 ships with the binary.
    add column template_version integer,
    -- The digest that it tells; its items are the events.
    add column digest_id        uuid;

-- Pages of a topic's members in the order of bytes, whatever the database collates by.
create index topic_members_page_idx on topic_members (topic_id, user_id collate "C");

-- Counts of one side of a rule's test stand beside those of all.
alter table stats
    -- `<rule id>/<action>/<variant>`; empty where all are counted.
    add column side text not null default '',
    drop constraint stats_pkey,
    add constraint stats_pkey
        primary key (tenant_id, bucket, side, channel, priority, status, slot);
