# shellcheck shell=bash disable=SC2154
# Part of scripts/demo, which sources it: an app whose committed offset has been evicted. Directly it
# dies, through kmend it goes on.
#
# It passes only if the direct run failed with OffsetOutOfRangeException AND the run through kmend read
# every order that was left.

orders=1000 committed=200 start=800

headline "A consumer that was away for too long"
prepared=0
java_run 60 "$work/prepare" Prepare "$broker" "$orders" "$committed" "$start" && prepared=1
quoted <"$work/prepare"
[ "$prepared" = 1 ] || { quoted <"$work/prepare.err" >&2; fail "the topic could not be prepared"; }

headline "The app, directly on the broker ($broker)"
code=0
java_run 30 "$work/direct" OrdersApp "$broker" $((orders - 1)) || code=$?
quoted <"$work/direct"
[ "$code" -ne 0 ] || fail "the app did not fail without kmend: there is nothing to mend here"
grep -q OffsetOutOfRangeException "$work/direct" || fail "the app failed, but not with OffsetOutOfRangeException (exit code $code)"
good "it dies, and would die again after each restart"

headline "The same app, through kmend ($listen)"
start_kmend
code=0
java_run 30 "$work/mended" OrdersApp "$listen" $((orders - 1)) || code=$?
quoted <"$work/mended"
[ "$code" -eq 0 ] || fail "the app did not go on through kmend (exit code $code)"
grep -q "first order handled: offset $start\$" "$work/mended" || fail "the app did not begin at offset $start, the first that is left"
grep -q "$((orders - start)) orders in all" "$work/mended" || fail "the app did not handle each of the $((orders - start)) orders that are left"
good "it goes on with the first order that is left and handles all $((orders - start))"

headline "What kmend logged"
grep -iE 'evict|reset|skipped' "$work/kmend.log" | grep -v 'bootstrap.servers' | quoted || fail "kmend logged no repair"

counted '^kmend_(repairs_total\{.*offset_reset|offset_resets_total|offset_records_skipped_total)'
awk -v want="$((start - committed))" '/^kmend_offset_records_skipped_total/ { n += $NF } END { exit n != want }' "$work/metrics" ||
  fail "kmend_offset_records_skipped_total is not $((start - committed))"
good "$((start - committed)) orders had expired before anybody read them; kmend says so instead of hiding it"
