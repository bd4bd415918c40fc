# What the programs of image/tests/init_compare.rs share; it is /lib/events in the guest.

# ev LANE TEXT: a report. The kernel's log shows it as one line, whoever else writes to the console.
ev() {
	echo "<2>@EV@ $*" >/dev/kmsg
}

# until_true CONDITION: waits at most 30 seconds, and reports when it was in vain.
until_true() {
	local n=0
	until eval "$1"; do
		n=$((n + 1))
		[ $n -lt 300 ] || { ev drive "gave up waiting for: $1"; return 1; }
		sleep 0.1
	done
}

# starts NAME: how often the program NAME was started.
starts() {
	wc -l 2>/dev/null <"/run/$1.pids" || echo 0
}

# running NAME: whether the program NAME runs that was started last.
running() {
	kill -0 "$(tail -n 1 "/run/$1.pids" 2>/dev/null)" 2>/dev/null
}

# signal NAME SIGNAL
signal() {
	kill "-$2" "$(tail -n 1 "/run/$1.pids")"
}

# yes_or_no COMMAND...
yes_or_no() {
	"$@" && echo yes || echo no
}

# told NAME: how often `facts NAME` was told to its end.
told() {
	wc -l 2>/dev/null <"/run/$1.facts" || echo 0
}

# facts LANE: what this shell was started with.
facts() {
	local lane=$1 rest tty name value line fd number
	ev "$lane" "arguments $(tr '\0' '|' </proc/$$/cmdline)"
	# Behind the name: state, parent, group, session, terminal, its foreground group (proc_pid_stat(5)).
	rest=$(sed 's/.*) //' /proc/$$/stat)
	set -- $rest
	ev "$lane" "parent $2, leads its group $(yes_or_no [ "$3" = $$ ]), leads its session $(yes_or_no [ "$4" = $$ ])"
	tty=$(sed -n 's/^DEVNAME=//p' "/sys/dev/char/$(($5 >> 8 & 4095)):$(($5 & 255))/uevent" 2>/dev/null)
	ev "$lane" "controlling terminal ${tty:-none}, in its foreground $(yes_or_no [ "$6" = $$ ])"
	for number in 0 1 2; do
		ev "$lane" "descriptor $number $(readlink /proc/$$/fd/$number)"
	done
	for fd in /proc/$$/fd/*; do
		number=${fd##*/}
		value=$(readlink "$fd")
		# Those above 9, and the pipe of `$(...)`, are the shell's own.
		case $number:$value in [012]:* | ??*:* | *:pipe:* | *:"$0" | *:) ;; *) ev "$lane" "descriptor $number $value" ;; esac
	done
	ev "$lane" "directory $(readlink /proc/$$/cwd), mask $(umask), nice $(set -- $rest && echo ${17})"
	# Of a child, which inherits it: while a shell forks, its libc blocks all.
	ev "$lane" "$(sed -n 's/^SigBlk:[[:space:]]*/signals blocked /p' /proc/self/status)"
	ev "$lane" "$(sed -n 's/^SigIgn:[[:space:]]*/signals ignored /p' /proc/$$/status)"
	ev "$lane" "open files $(ulimit -S -n) $(ulimit -H -n), badness $(cat /proc/$$/oom_score_adj)"
	tr '\0' '\n' </proc/$$/environ | sort >/tmp/environment.$$
	while IFS= read -r line; do
		ev "$lane" "environment $line"
	done </tmp/environment.$$
	echo $$ >>"/run/$lane.facts"
}
