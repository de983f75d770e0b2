# shellcheck shell=bash disable=SC2154
# Part of scripts/demo, which sources it: two topics with a producer each get two more partitions.
# Directly the producer does not know of them for minutes, through kmend within seconds.
#
# It passes only if, 20 s later, the direct producer has used no new partition AND the one through kmend
# has used both.

watched=20

headline "A topic in use gets more partitions"
java_run 60 "$work/create" Growth create "$broker" direct through-kmend || { quoted <"$work/create.err" >&2; fail "the topics could not be made"; }
quoted <"$work/create"
start_kmend
printf '   two producers, default settings, 20 records with keys in a second each:\n'
printf '   %-15s directly on the broker, %s\n' direct: "$broker"
printf '   %-15s through kmend, %s\n' through-kmend: "$listen"
java_start 120 "$work/app-direct" Visits "$broker" direct
app_pids=$!
java_start 120 "$work/app-mended" Visits "$listen" through-kmend
app_pids="$app_pids $!"

headline "Records in each partition, from the moment when there are three of them"
: >"$work/growth"
java_start $((watched + 60)) "$work/growth" Growth grow "$broker" "$watched" direct through-kmend
java_pid=$!
follow "$java_pid" "$work/growth"
code=0
wait "$java_pid" || code=$?
java_pid=''
[ "$code" -eq 0 ] || { quoted <"$work/growth.err" >&2; fail "the partitions could not be watched (exit code $code)"; }
for pid in $app_pids; do
  kill -0 "$pid" 2>/dev/null || { cat "$work"/app-direct "$work"/app-mended | quoted >&2; fail "a producer ended"; }
done

read -r -a counts < <(tail -n 1 "$work/growth" | tr '|' ' ')
[ "${#counts[@]}:${counts[0]}" = "7:$watched" ] || fail "the last line is not whole"
[ $((counts[2] + counts[3])) = 0 ] || fail "the direct producer has found the new partitions: there is nothing to mend here"
[ $((counts[5] * counts[6])) -gt 0 ] || fail "the producer through kmend has not used both new partitions"
good "directly no record reaches the new partitions in $watched s; its client looks again after up to 5 minutes (metadata.max.age.ms)"
good "through kmend both are used, and neither app saw an error"

headline "What kmend logged"
grep -E 'new partitions|more partitions' "$work/kmend.log" | quoted || fail "kmend logged no growth"

counted '^kmend_(repairs_total\{.*partition_discovery|partitions_added_total|metadata_nudges_total|metadata_polls_total)'

for pid in $app_pids; do
  kill -TERM "$pid"
  wait "$pid" || true
done
app_pids=''
