package explain

// What disturbed a run, and what this machine lacks.
const (
	Stall            = "TL1301"
	CaptureDrops     = "TL1302"
	ClockStepped     = "TL1303"
	StampsMissing    = "TL1304"
	CutShort         = "TL1305"
	StatesUnseen     = "TL1306"
	ObservationEnded = "TL1307"
	EvidenceLost     = "TL1308"
	OrdersUnlisted   = "TL1309"
	OnTheWheel       = "TL1310"
	NoPrivilege      = "TL1401"
	NoIptables       = "TL1402"
	KnobMissing      = "TL1403"
	KnobGlobal       = "TL1404"
	NoVeth           = "TL1405"
	NoRawSocket      = "TL1406"
	KernelNotModeled = "TL1407"
	NoMachine        = "TL1408"
	NoTracepoints    = "TL1409"
	NoUserNamespace  = "TL1410"
	NoDescriptors    = "TL1411"
)

var machineEntries = []Entry{
	{Stall, "the machine stalled during the run",
		`A processor did not run what was due, for longer than the windows of the prediction. What came late in that time proves nothing, so the run is inconclusive. After a stall of 150 ms or more, nothing that contradicts the prediction is called a failure any more.

tcplab sleeps on each processor for short times and measures how late it wakes. A late watcher means that timers were late too: run_timer_softirq runs on the processor where the timer was armed. The usual reasons are load, a hypervisor that gave the processor to others, and power saving.

Run it again on a quieter machine, with fewer experiments at once (--parallel=1), or in the virtual machine, whose clock stands still while it is not running.`,
		[]string{TooLate, CaptureDrops}},
	{OnTheWheel, "the kernel's timer wheel had it due in its jiffy",
		`The packet came late, or while the machine stalled, and alone that would leave open whether its timer was the predicted one. But the kernel's own record says in which bucket of the timer wheel the timer was, and that is the predicted jiffy: the timer is right, and the machine came to it late. The check passes, to the tick.

The record is the tracepoint timer_expire_entry. expire_timers (kernel/time/timer.c) gives it the jiffy of the bucket that it empties, and __run_timers goes through every bucket that a processor missed, one after the other, however late it is. tcplab follows it where it may read the tracepoints and the addresses in /proc/kallsyms: as root, on this kernel. A timer that was armed late because the one before it was handled late may be in another bucket; that stays inconclusive.

See "due" and "off_tick" of the event in result.json, and the tracepoint's lines in the report.`,
		[]string{Stall, TimerWheel}},
	{CaptureDrops, "the capture lost packets",
		`The kernel could not hand every packet to the capture. What is missing in the file may have been on the wire, so the run is inconclusive: nothing that was predicted is said to have come or not to have come.

packet_rcv (net/packet/af_packet.c) drops a packet when the receive buffer of the capture is full, and counts it in tp_drops of PACKET_STATISTICS. The buffer is of 8 MiB, and without root of net.core.rmem_max. A lab has few packets, so either the reader did not run for a long time, or something floods the lab. The packets that may be missing are those of the times beside "lost by the capture" in the report (gaps in result.json; epb_dropcount in the capture file, frame.drop_count in Wireshark, at the packet behind the hole).

Look for stalls in the result, and for packets in the captures that the experiment did not send. Run it again on a quieter machine; without root, raise net.core.rmem_max, or use sudo.`,
		[]string{Stall, CapturesDisagree}},
	{ClockStepped, "CLOCK_REALTIME moved during the run",
		`The wall clock jumped or was slewed while packets were captured.

The kernel stamps packets with CLOCK_REALTIME (__net_timestamp, include/linux/skbuff.h), and timers run by CLOCK_MONOTONIC. A step of the one moves every later packet against the prediction. tcplab measures the two clocks against each other, and puts a number on it.

Do not set the clock during a run. chrony and ntpd step it shortly after they start: wait until they are in step.`,
		[]string{TooEarly, TooLate}},
	{CutShort, "the run ended before the event was due",
		`Observation ended, by --timeout or a signal, before something that was predicted could happen. That it was not seen proves nothing, so the check is inconclusive.

The kernel sends nothing more once the client's process is gone: its socket is closed with it, and a connection in SYN-SENT dies without a packet (tcp_close, net/ipv4/tcp.c).

Give the run more time, or leave --timeout away: without it a run lasts a little longer than its prediction.`,
		[]string{DiedLate}},
	{ObservationEnded, "observation ended before its time",
		`A capture failed while the run went on, or the client's process was killed. What happened afterwards was not seen, so the run is inconclusive. What was captured until then is in the folder of the run.

A capture ends with ENETDOWN when its interface is set down (packet_notifier, net/packet/af_packet.c). A client's process is most often killed by the kernel for want of memory (out_of_memory, mm/oom_kill.c), or by hand.

The message says which it was. Leave the lab alone while it runs, give the machine more memory, and run it again.`,
		[]string{ChildDied, CaptureDrops}},
	{StatesUnseen, "inet_diag did not show every state",
		`The TCP states of both ends are sampled with inet_diag a few times a second, and whenever something happens. A state that is shorter than the time between two looks can be missed, and a kernel without inet_diag for TCP (CONFIG_INET_TCP_DIAG) shows none.

tcp_diag_get_info (net/ipv4/tcp_diag.c) answers the look. The packets are judged by the captures alone, and are not touched by this.

Look at the samples in result.json for the gap, and run it again; where there are no samples at all, see whether the module tcp_diag is there.`,
		[]string{WrongState, Stall}},
	{EvidenceLost, "the kernel's own evidence is not whole",
		`Events of the kernel's tracepoints found no room, or a rule's counter could not be read. What is missing may have happened, so the checks that hold the kernel's evidence against the captures are inconclusive. Where only a tracepoint was silent, about something that the captures have and that the kernel's own counter has too, the check passes and says so: some virtual machines run no program at a tracepoint for some milliseconds now and then. A tracepoint that is silent about nearly everything leaves the check inconclusive.

The programs at the tracepoints write into a ring of 1 MB, some 5000 events (bpf_ringbuf_reserve, kernel/bpf/ringbuf.c). tcplab empties it whenever it looks at the sockets, a few times a second. The programs do not wake it: that would disturb the timers under test.

Look for stalls in the result, and run it again on a quieter machine, or with --evidence=off.`,
		[]string{EvidenceDisagrees, Stall}},
	{OrdersUnlisted, "more orders are possible than were predicted",
		`Two things fell into one instant so many times that not every order in which they can come was predicted. What was seen fits none of those that were, and may be one of the others, so it is not called a failure.

In exp2-synack-loss the client's repeated SYN and the server's request timer meet: both are started by the SYN before, and double from the same value (reqsk_timer_handler, net/ipv4/inet_connection_sock.c, and tcp_retransmit_timer, net/ipv4/tcp_timer.c). On two processors either can be first each time, and two meetings have four orders. tcplab predicts 128 of them at most, those with the fewest surprises.

In exp6 on a link that holds segments back (--reorder), the sender may learn that a repeat was needless and take its recovery back while another segment is missing still (tcp_try_undo_partial, net/ipv4/tcp_input.c). What it sends next hangs on when RACK's timer was armed anew, and not every way of that is modelled.

Ask for fewer retransmissions (--syn-retries, --syn-linear-timeouts), for another --seed of exp6, or run it in the virtual machine, where one processor runs both timers in one order.`,
		[]string{Stall}},
	{StampsMissing, "packets carry no kernel time stamp",
		`The time of a packet is when tcplab read it, not when the kernel saw it.

The stamp comes from SO_TIMESTAMPNS, or from the packet ring. Where the kernel gives none, the reader's clock is later by the time until it ran: microseconds on a quiet machine, more under load. Exact ticks cannot be judged with it.

The run is judged with windows only. See in the result which clock each capture had.`,
		[]string{WrongTick, Stall}},
	{NoPrivilege, "not enough privilege for a lab",
		`A lab makes network namespaces, and the kernel refused something that this process has the capabilities for: root in a container is often kept from it.

copy_net_ns (net/core/net_namespace.c) wants CAP_SYS_ADMIN in the user namespace. A container's filter (seccomp), a security module or a read-only /proc refuses beside that.

In a container add --privileged, or --cap-add for each of SYS_ADMIN, NET_ADMIN and NET_RAW with --security-opt seccomp=unconfined. tcplab predict, describe, explain and report need no privilege, and neither does run --kernel.`,
		[]string{NoUserNamespace, NoRawSocket, NoVeth}},
	{NoUserNamespace, "no root, and no user namespace of use",
		`An ordinary user makes a lab in a user namespace: tcplab run starts itself again as its root. It tries, and reads no setting to guess. Here the kernel refused to make one, or made one whose root has no rights.

create_user_ns (kernel/user_namespace.c) answers ENOSPC where user.max_user_namespaces is reached, and EPERM in a chroot, in a container that filters clone(2), and where Debian's kernel.unprivileged_userns_clone is 0. AppArmor on Ubuntu 23.10 and later lets the namespace be made, and puts the process into the profile unprivileged_userns, which denies every capability in it.

Run it with sudo. Or, on Ubuntu, give this program an AppArmor profile that allows it: docs/guide.md has the five lines, for /etc/apparmor.d/tcplab. For the whole machine: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0. Where the limit is 0: sudo sysctl -w user.max_user_namespaces=15000. No entry in /etc/subuid is needed, because one user is all that is mapped.`,
		[]string{NoPrivilege, PhaseUnknown, NoTracepoints}},
	{NoIptables, "no iptables that works",
		`The experiment drops packets with an iptables rule, and no iptables was found, or the kernel lacks what it needs.

The command alone is not enough: iptables-nft needs nf_tables and nft_compat, iptables-legacy needs ip_tables and a lock file it can write (/run/xtables.lock, or the path in XTABLES_LOCKFILE).

Install the package iptables. As an ordinary user, set XTABLES_LOCKFILE to a file of your own. tcplab doctor says which variant it tried and what that answered.`,
		[]string{NoPrivilege, KnobMissing}},
	{KnobMissing, "this kernel lacks the knob",
		`A sysctl that the experiment sets does not exist in a network namespace of this kernel.

Knobs come and go with versions, and distributions carry some back to older kernels. The table of ipv4_net_table (net/ipv4/sysctl_net_ipv4.c) is what a namespace has. So tcplab looks for the file and does not go by the version.

tcplab says since which version the knob exists. Choose an experiment that does not need it, or a newer kernel in the virtual machine.`,
		[]string{KnobGlobal, ValueOutOfRange}},
	{KnobGlobal, "the knob is one for the whole machine",
		`The kernel has the sysctl, but not one for each network namespace. To set it would change the machine, and tcplab does not do that.

Until about Linux 4.15 many TCP knobs were global. Those are in ipv4_table and not in ipv4_net_table (net/ipv4/sysctl_net_ipv4.c), and their files are missing in every namespace but the first. A few, such as tcp_mem and tcp_max_orphans, are global to this day.

Use a newer kernel, or the virtual machine, where the whole machine is the lab's.`,
		[]string{KnobMissing, CongestionControl}},
	{NoVeth, "no veth devices",
		`The two hosts of a lab are joined by a veth pair, and the kernel could not make one.

The driver is a module on most kernels (drivers/net/veth.c, CONFIG_VETH) and loading it takes root in the first namespace. A container, or a user namespace, can use it only when it is loaded already.

Run modprobe veth as root once, then try again.`,
		[]string{NoPrivilege}},
	{NoRawSocket, "no CAP_NET_RAW",
		`tcplab captures with a packet socket, and the kernel refused to make one.

packet_create (net/packet/af_packet.c) wants CAP_NET_RAW in the user namespace that owns the network namespace. Containers often drop it, and CONFIG_PACKET can be missing in a small kernel (EAFNOSUPPORT).

Run it with sudo, or add --cap-add=NET_RAW to the container.`,
		[]string{NoPrivilege}},
	{KernelNotModeled, "this kernel is older than tcplab can predict",
		`The rules that the oracle knows begin with Linux 3.1.

Up to 3.0 the first RTO was 3 s (TCP_TIMEOUT_INIT, include/net/tcp.h; RFC 1122 section 4.2.3.1), and 3.1 made it 1 s (RFC 6298 section 2.1). Every time of an experiment follows from it.

Use a newer kernel, or the virtual machine.`,
		[]string{KnobMissing}},
	{NoTracepoints, "the kernel's tracepoints cannot be followed",
		`tcplab follows tcp_retransmit_skb, tcp_retransmit_synack, inet_sock_set_state, kfree_skb and timer_expire_entry with eBPF, and something for that is missing. The run goes on without: drops have no reason from the kernel and repeats no cause, and the checks that hold them against the captures are left out. Nothing else depends on it.

It takes root in the first user namespace (CAP_BPF and CAP_PERFMON; bpf_prog_load, kernel/bpf/syscall.c), so an ordinary user and a container without privilege have none of it. The kernel must have bpf(2), its own BTF (/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF) and enum skb_drop_reason (Linux 5.17 and later), and must not be locked down for confidentiality. The fifth, timer_expire_entry, also takes the addresses of TCP's timer functions in /proc/kallsyms, which kernel.kptr_restrict=2 hides; where it alone is missing, a timer that is handled late leaves a check open that it would have settled (TL1310).

Run it with sudo, or with --kernel: in the virtual machine everything is there, without root on this machine. --evidence=off leaves it away without a word.`,
		[]string{NoPrivilege, EvidenceDisagrees, OnTheWheel}},
	{NoDescriptors, "too many files are open",
		`A file, a pipe or a socket could not be opened, because this process has as many as it may (EMFILE), or the machine has (ENFILE). Nothing of the run is left.

A lab has some sixty descriptors: its namespaces, captures, sockets and files. The limit is the shell's (RLIMIT_NOFILE, alloc_fd in fs/file.c), most often 1024, which is enough for a dozen labs at once; a service or a container may have less.

Raise it (ulimit -n 4096) in the shell that starts tcplab, or run fewer at once (--parallel).`,
		[]string{NoPrivilege, OutputNotWritable}},
	{NoMachine, "no virtual machine, or no such kernel",
		`--kernel boots another kernel in a virtual machine, and something for that is missing here: qemu-system-x86_64, the kernel, or the iptables program, which is copied into the machine.

The machine needs no privilege and no /dev/kvm. It is an x86-64 one, and this program runs in it, so it takes tcplab for amd64. The kernel is found in the cache or in /boot; where only root may read /boot (Ubuntu), it has to be fetched or copied.

Install QEMU (apt-get install qemu-system-x86), and get a kernel with tcplab kernels fetch VERSION. tcplab kernels list shows what is there and what is offered. Under sudo, the kernels that you have fetched as yourself are found too. A kernel of your own build goes by its path, and must have CONFIG_PVH.`,
		[]string{NoIptables, KernelNotModeled}},
}
