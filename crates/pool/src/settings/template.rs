//! The file to fill in.

/// A file with every key, each commented out, and what it means: what `gristmill pool settings --init` writes.
pub const TEMPLATE: &str = r#"# What this pool charges, and how it works. Every line is optional; what begins with # is not in force.
# `gristmill pool settings` shows what is. A flag of the command line goes before this file. The pool reads it when it starts, and again
# at `gristmill pool reload` or the signal SIGHUP: then all of it holds, or, where anything is wrong, nothing changes.

# What it keeps of each reward, in percent, 0 to 100; without it the fee stays as it is on the ledger. Deals that were made keep theirs.
#fee_percent = 1
# What its account at the hub is filled up to from its tokens, in GRIST, at a start and when this changes.
#stake = 1000
# Processor time that the settlement of a task costs all who take part, in milliseconds, 0 to 60000: requesters pack their items so that
# it is at most 5 % of a task's run.
#settlement_ms = 25

[price]
# What a task of a size class costs, in GRIST. Deals that were made keep their price.
#XS = 0.1
#S = 0.4

[order]
# Tasks that one of its orders on the ledger offers, 1 to 1000000000; one that is used up is published anew.
#volume = 1000000000
# The highest trust at which one may be matched, 1 to 1000000. Trust 5 is a confidence of 80 %.
#trust_max = 1000000

[offer]
# Orders for tasks that need a way out to the network, or a GPU; workers that lend these must be there.
#network = false
#gpu = false

[scheduler]
# A lease ends so long after the worker's last sign of life, 3000 to 3600000; for a class of small T after 2 T if that is shorter.
#lease_duration_ms = 10000
# A worker whose connection broke keeps its leases so long, 0 to 600000.
#reconnect_grace_ms = 2000
# A lease ends after so many T of its class, 1 to 10, even if its worker is there.
#run_limit_ratio = 6
# An authorised worker has so long for its contribution, 4000 to 3600000; for a small T 2 T if that is shorter.
#contribution_wait_ms = 60000
# A task goes to another host after a fault so often, 0 to 100; then the pool gives it up.
#host_fault_retries = 3
# Contributions proven wrong, after which a worker is banned, 1 to 1000; and for how long: 0 until it is pardoned, at most 31536000000.
#faulty_contributions_max = 1
#ban_duration_ms = 0
# Leases in a row without an answer, after which a worker is put aside, 1 to 1000; for how long the first time, and at most, to 86400000.
#silent_leases_max = 3
#aside_ms = 30000
#aside_ms_max = 3600000
# Results in reserve while who holds the coming consensus has never revealed before, 0 to 10.
#reserve_replicas = 1
# A lease is late after so many percent of the median run of its deal, 0 to 10000, and not before late_ms_min, 0 to 3600000: idle machines
# then compute up to copies_max copies, 0 to 16. 0 percent: none are made, late or not.
#late_percent = 150
#late_ms_min = 2000
#copies_max = 2
# A deal is at its end when so many percent of its tasks are open, 0 to 100: then what an idle machine would end first, by gain_percent of
# its run, 0 to 1000, is copied before it is late, up to end_copies_max times, 0 to 16.
#end_percent = 20
#gain_percent = 10
#end_copies_max = 4

[credibility]
# These hold from the next start on. Off: the pool believes whatever the hub's rule accepts.
#on = true
# The share of workers that is assumed to lie, 0.001 to 0.45.
#saboteurs = 0.2
# The share of tasks that are checked by one replica more, 0.001 to 1.
#check_share = 0.05
# Ask for a replica when the one before is there: slower, and harder on colluders.
#one_by_one = false
# Checks that a newcomer passes before it has a vote, 1 to 1000, once so many owners have passed theirs, 1 to 1000000.
#probation_checks = 2
#founders = 16
# A loser is banned if the winner is wrong with at most this probability, to 0.5 (0.01 for a public pool).
#verdict_error = 0.5
# Proven wrong results of an owner after which all its workers are banned, and unanswered leases after which a worker may be, 1 to 1000000.
#owner_faults_max = 3
#withheld_max = 3
"#;
