"""Clocks that jump under a running consumer, and timestamps that are far off."""

from __future__ import annotations

import functools
import json
import mmap
import shutil
import signal
import struct
import subprocess
import time
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from chaos.books import books
from chaos.publishing import publishing
from chaos.scenario import Outcome, Site, broken
from running import bundle, lmdp, options, rows, started, until

if TYPE_CHECKING:
    from pathlib import Path

_LONG_S = 120
_DAY_S = 86_400
_JUMPS = (3_600, -7_200, 40 * _DAY_S, 0)  # seconds, each from the right time

# The wall clock of one process, moved by the seconds that a shared file holds; the other clocks are the kernel's own.
# A wait until a time of the wall clock looks at it again and again, as the kernel does when its clock is set.
_SHIFTED = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
  static volatile long *seconds;
  if (!seconds) {
    int file = open(getenv("CLOCK_SHIFT"), O_RDONLY);
    seconds = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    close(file);
  }
  return *seconds;
}
int clock_gettime(clockid_t which, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, which, now);
  if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
  return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}
static int wait_in_slices(void *cond, void *mutex, const struct timespec *until,
                          int (*wait)(void *, void *, const struct timespec *), int late) {
  if (until->tv_sec < 1000000000) return wait(cond, mutex, until); /* of the monotonic clock */
  for (;;) {
    struct timespec now, slice;
    clock_gettime(CLOCK_REALTIME, &now);
    long long left = (until->tv_sec - now.tv_sec) * 1000000000LL + until->tv_nsec - now.tv_nsec;
    if (left <= 0) return late;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &slice);
    slice.tv_nsec += left < 20000000 ? left : 20000000;
    if (slice.tv_nsec >= 1000000000) slice.tv_nsec -= 1000000000, slice.tv_sec++;
    int ended = wait(cond, mutex, &slice);
    if (ended != late) return ended;
  }
}
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
  static int (*wait)(void *, void *, const struct timespec *);
  if (!wait) wait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"); /* not the one of older programs */
  if (!wait) wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
  return wait_in_slices(cond, mutex, until, wait, ETIMEDOUT);
}
int cnd_timedwait(cnd_t *cond, mtx_t *mutex, const struct timespec *until) {
  static int (*wait)(void *, void *, const struct timespec *);
  if (!wait) wait = dlsym(RTLD_NEXT, "cnd_timedwait");
  return wait_in_slices(cond, mutex, until, wait, thrd_timedout);
}
time_t time(time_t *to) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (to) *to = exact.tv_sec;
  return exact.tv_sec;
}
"""


def clock_jumps(site: Site) -> Outcome:
    """The consumer's clock jumps ahead and back, under load and while nothing comes; messages carry odd timestamps."""
    folder, topic = site.folder(), site.new_topic(4)
    home, shifted = folder / ".lmdp", _clock(folder)
    words = ("run", *options(site.broker.access), "--topic", topic, "--org-id", "acme", "--json")
    odd = range(1_000_000, 1_000_005)
    with started(*words, folder=folder, **shifted) as program:
        until((home / "run.sock").exists, _LONG_S)
        with publishing(site.broker.access, topic, rate=500) as sent:
            _publish_odd(site, topic, odd)
            for jump in _JUMPS:
                seen = _rows(home)
                until(functools.partial(_has_more, home, seen), _LONG_S)
                _set(folder, jump)
                time.sleep(site.by_size(1.5, 4.0))
            sent.end()
        until(lambda: books(functools.partial(rows, home)).numbers >= sent.sent + len(odd), _LONG_S)
        time.sleep(1.0)
        _set(folder, -_DAY_S)  # while nothing comes; whoever waits by this clock waits for a day
        time.sleep(1.0)
        program.send_signal(signal.SIGTERM)
        out, _ = program.communicate(timeout=_LONG_S)
    report = json.loads(out)
    (spread,) = rows(home, "select date_diff('day', min(LOADED_AT), max(LOADED_AT)) as days from loads")
    _set(folder, 40 * _DAY_S)
    ahead = lmdp(*words, "--until-idle", folder=folder, given=None, seconds=_LONG_S, **shifted)
    found = books(functools.partial(rows, home))
    return Outcome(
        times=len(_JUMPS) + 2,
        messages=report["messages"],
        expected_rows=sent.sent + len(odd),
        found_rows=found.numbers,
        repeats=found.repeats + report["duplicates"],
        rejects=report["rejectedMessages"],
        measured="" if shifted else "timestamps alone: there is no C compiler here to move a clock with",
        broken=broken(
            {
                "a run did not end with 0": (program.returncode, ahead.returncode) == (0, 0),
                "LOADS or OFFSETS do not add up": found.is_whole(),
                "it reports a loss": report["gaps"] == 0,
                "the clock did not jump": not shifted or spread["days"] >= 39,
                "a clock that was wrong removed rows": b"removed" not in ahead.stderr,
                "a traceback was printed": "Traceback" not in (folder / "stderr").read_text(),
            }
        ),
    )


def _clock(folder: Path) -> dict[str, str]:
    """The environment of a process whose wall clock can be moved; empty where no compiler is."""
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_SHIFTED)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    (folder / "shift").write_bytes(struct.pack("l", 0))
    return {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(folder / "shift")}


def _set(folder: Path, seconds: int) -> None:
    """Move the clock by so much, at once and for all who look."""
    if not (folder / "shift").exists():
        return
    with (folder / "shift").open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
        shared[:] = struct.pack("l", seconds)


def _publish_odd(site: Site, topic: str, numbers: range) -> None:
    """Publish with Kafka timestamps of 1970, of last year, of an hour ago and of soon, and with none."""
    now = int(time.time() * 1000)
    producer = Producer(site.broker.access.config())
    for number, at in zip(numbers, (1, now - 400 * _DAY_S * 1000, now - 3_600_000, now + 3_000_000, 0), strict=True):
        producer.produce(topic, bundle(number % 1_000_000 + 1_000_000), timestamp=at)
    assert producer.flush(_LONG_S) == 0


def _rows(home: Path) -> int:
    return int(rows(home, "select count(*) as n from row_events")[0]["n"])


def _has_more(home: Path, seen: int) -> bool:
    return _rows(home) > seen
