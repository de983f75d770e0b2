"""Consumer groups: lag, what nobody fetches, rebalances, how far retention is, what the broker does not have yet."""

from parts import BAD_ABOVE_ZERO, GROUPS, PLACES, TARGETS, dashboard, graph, grown, quantile, row, stat, steps, table

# During a handover two kmends may know the same partition: it counts once.
LAG = f"max by (namespace, group, topic, partition) (kmend_consumer_lag{{{PLACES}}})"
HEADROOM = steps((None, "red"), (600, "orange"), (3600, "green"))


def build():
    return dashboard("kmend-groups", "Consumer groups behind kmend: lag, unfetched partitions, rebalances, retention, write-behind. A kmend sees its own app's members only.", [
        row("At a glance",
            stat("Groups", "Groups with members behind the selected kmends.", "short", f"count(count by (group) (kmend_partitions_assigned{{{GROUPS}}}))"),
            stat("Lag in all", "Records from the committed offsets to the high watermarks. A level is normal; growth is not: add consumers, or look for a slow one below.", "short", f"sum({LAG})"),
            stat("Unfetched", "Partitions that are assigned, behind the log end and fetched by nobody. Above 0 for minutes: runbook KmendPartitionsUnfetched.", "short",
                 f"sum(kmend_partitions_unfetched{{{GROUPS}}})", thresholds=BAD_ABOVE_ZERO),
            stat("Stalled members", "Members that live, lag and do nothing: /healthz/clients names them. Restart that app (runbook KmendConsumerStalled).", "short",
                 f"sum(kmend_consumer_stalled{{{GROUPS}}})", thresholds=BAD_ABOVE_ZERO),
            stat("Least headroom", "How long until retention reaches the position of the group that is nearest. No value: no log start moves. Below an hour: raise retention first.", "s",
                 f"min(kmend_offset_headroom_seconds{{{PLACES}}})", thresholds=HEADROOM, noValue="none at risk"),
            stat("Oldest commit not at the broker", "Commits that kmend acknowledged and the broker lacks, kept in a rebalance or by write-behind. Above a minute: do not delete the pod (runbook KmendWriteBehindStuck).", "s",
                 f"max(kmend_writebehind_oldest_seconds{{{TARGETS}}} or kmend_commit_buffer_age_seconds{{{TARGETS}}})", thresholds=steps((None, "green"), (30, "orange"), (60, "red")))),
        row("Lag",
            graph("Lag by group", "The ten groups with most. It comes from traffic that passes anyway: a partition that nobody fetches shows no lag, it counts as unfetched.", "short",
                  (f"topk(10, sum by (group) ({LAG}))", "{{group}}")),
            graph("Lag by topic", "The ten groups and topics with most. One topic of a group alone: look at its keys and partitions in the table.", "short",
                  (f"topk(10, sum by (group, topic) ({LAG}))", "{{group}} {{topic}}")),
            table("Largest lags", "The thirty partitions with the largest lag. One partition far ahead of its topic: a hot key, or a record that the app cannot handle.", "short",
                  f"topk(30, {LAG})", "lag"),
            table("Lags that grow", "Records per second by which lag grew in the last 15 minutes, the twenty fastest. These consumers are slower than their producers.", "short",
                  f"topk(20, max by (namespace, group, topic, partition) (deriv(kmend_consumer_lag{{{PLACES}}}[15m])) > 0)", "per second", width=12),
            stat("Lags not exported", "Partitions whose lag is not exported, because one kmend has more than 5,000. The sums on this page lack them: use the brokers' own tools for these groups.", "short",
                 f"sum(kmend_consumer_lag_series_dropped{{{TARGETS}}})", width=12, thresholds=BAD_ABOVE_ZERO)),
        row("What is assigned, and what is fetched",
            graph("Nobody fetches", "Assigned, behind the log end, not fetched for longer than `after` (30 s). The ten groups with most; above 0 for minutes: runbook KmendPartitionsUnfetched.", "short",
                  (f"topk(10, sum by (group) (kmend_partitions_unfetched{{{GROUPS}}}))", "{{group}}"), thresholds=BAD_ABOVE_ZERO),
            graph("Stalled members", "Members that live, lag, and have neither fetched nor committed for `stalled_after` (60 s). The app's log around that time tells why.", "short",
                  (f"topk(10, sum by (group) (kmend_consumer_stalled{{{GROUPS}}}))", "{{group}}"), thresholds=BAD_ABOVE_ZERO),
            graph("Assigned and paused", "What members behind kmend are assigned, and how much of it their clients have not fetched for 15 s: paused, or the app is busy. Much of it paused for long: look at the app.", "short",
                  (f"topk(10, sum by (group) (kmend_partitions_assigned{{{GROUPS}}}))", "{{group}} assigned"), (f"topk(10, sum by (group) (kmend_partitions_paused{{{GROUPS}}}))", "{{group}} paused"))),
        row("Rebalances",
            graph("Rebalances", "Rebalances in each interval, the ten groups with most; each kmend counts for itself, shown is the one that saw most. More than 5 in 15 minutes: runbook KmendGroupRebalancesOften.", "short",
                  (f'topk(10, max by (group) ({grown("kmend_group_rebalances_total", GROUPS)}))', "{{group}}"), stacked=True),
            graph("What began them", "By cause. expiry: members are thrown out, compare max.poll.interval.ms; join and leave: pods come and go; elsewhere: not behind this kmend.", "short",
                  (f'topk(10, sum by (cause) (max by (group, cause) ({grown("kmend_group_rebalance_causes_total", GROUPS)})))', "{{cause}}"), stacked=True),
            graph("How long they take", "From the first sign behind kmend to the last assignment there, all selected groups. Long: members that answer late, often busy in a handler.", "s",
                  *((quantile(q, "kmend_group_rebalance_duration_seconds", GROUPS, window="$__range"), name) for q, name in ((0.5, "median"), (0.95, "95 %"))))),
        row("Retention",
            graph("Headroom, time", "How long until retention reaches a position, the ten nearest. Below an hour an alert is raised: raise retention.ms or retention.bytes, it acts at once.", "s",
                  (f"bottomk(10, min by (group, topic, partition) (kmend_offset_headroom_seconds{{{PLACES}}}))", "{{group}} {{topic}}[{{partition}}]"), width=12, thresholds=HEADROOM),
            table("Headroom, records", "Records between a position and the log start, the thirty smallest. 0: the next deletion loses records that this group has not read, unless it has read all there is.", "short",
                  f"bottomk(30, min by (namespace, group, topic, partition) (kmend_offset_headroom_records{{{PLACES}}}))", "records", width=12, desc=False)),
        row("Commits that the broker does not have yet",
            graph("Kept commits", "Partitions with a commit that kmend has acknowledged and the broker lacks, the ten kmends with most. With write-behind a few are always there; without it they go with the next assignment.", "short",
                  (f"topk(10, sum by (pod, instance) (kmend_commits_buffered{{{TARGETS}}}))", "{{pod}} {{instance}}"), width=12),
            graph("Their age", "refused: the oldest one that a rebalance refused; given up after the rebalance timeout and max_age. write-behind: should stay near the interval (2 s).", "s",
                  (f"max(kmend_commit_buffer_age_seconds{{{TARGETS}}})", "refused"), (f"max(kmend_writebehind_oldest_seconds{{{TARGETS}}})", "write-behind"),
                  width=12, thresholds=steps((None, "green"), (60, "red")))),
    ], "group", "topic")
