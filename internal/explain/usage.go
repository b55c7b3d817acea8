package explain

// Usage errors, and failures of tcplab itself.
const (
	UnknownExperiment = "TL1501"
	ValueOutOfRange   = "TL1502"
	OutputNotWritable = "TL1503"
	DiskFull          = "TL1504"
	RunFolderExists   = "TL1505"
	InvalidFile       = "TL1506"
	UnknownKnob       = "TL1507"
	LeftBehind        = "TL1601"
	ChildDied         = "TL1602"
	InternalError     = "TL1603"
	MachineEnded      = "TL1604"
	PartsMissing      = "TL1605"
)

var usageEntries = []Entry{
	{UnknownExperiment, "no experiment of that name",
		`The name fits no experiment, or fits several.

A name may be shortened as long as only one begins with it: exp1 for exp1-syn-loss.

tcplab list shows all of them.`,
		[]string{InvalidFile}},
	{ValueOutOfRange, "the kernel would refuse this value",
		`A value is outside what the kernel takes, or makes no sense in a lab. Nothing was touched.

Each sysctl has its range in the kernel's table, and proc_dou8vec_minmax or proc_dointvec_minmax (kernel/sysctl.c) answers EINVAL outside it. tcp_syn_retries takes 1 to 127, so 0 is refused: the kernel always repeats a SYN once. tcplab checks before it builds anything.

The message names the range. tcplab describe EXPERIMENT lists the parameters with theirs.`,
		[]string{KnobMissing, UnknownKnob}},
	{OutputNotWritable, "the output folder cannot be written",
		`tcplab could not make or write its folder of results. It tries before the run, so nothing is lost.

Under sudo the files are given to the user who called it. On a network file system root may have fewer rights than the user (root_squash).

Choose another folder with --out DIR, or mend its permissions.`,
		[]string{DiskFull, RunFolderExists}},
	{DiskFull, "no space left for the result",
		`A file of the run could not be written in full: no space is left, or a quota is reached (ENOSPC, EDQUOT). The run itself went on; what is on disk is not complete.

A run of one connection needs less than a megabyte.

Make room or choose another folder with --out DIR, and run it again. An incomplete capture is marked as such in the result, where that could be written.`,
		[]string{OutputNotWritable}},
	{RunFolderExists, "the folder of the run exists already",
		`tcplab does not overwrite an earlier result, and the folder that it would use is there.

The name holds the second in which a run began and the experiment, so two runs collide only if they start together, or if --out names a folder of an earlier run.

Choose another folder with --out DIR, or move the earlier one away.`,
		[]string{OutputNotWritable}},
	{InvalidFile, "the file is not a valid experiment or result",
		`A file could not be read: not the expected format, a field that does not exist, or another schema version. Nothing was touched.

The message names the line and what was expected there. Result files are additive: a newer tcplab reads the results of an older one.

docs/reference/result-json.md lists the fields of a result.`,
		[]string{UnknownExperiment, ValueOutOfRange}},
	{UnknownKnob, "no sysctl of that name",
		`A --set names a sysctl that tcplab and the kernel do not know. Nothing was touched.

The form is HOST.NAME=VALUE with the host client, server or both: client.net.ipv4.tcp_sack=0. The last part of the name is enough for a knob of the catalogue: client.tcp_sack=0.

The message names the closest knob.`,
		[]string{ValueOutOfRange, KnobMissing}},
	{LeftBehind, "something was left behind",
		`After the run something is still there that tcplab made: a process, a namespace, a device or a mount.

The namespaces of a lab have no name and live as long as a descriptor or process holds them: put_net (include/net/net_namespace.h) drops the last reference, and the kernel then removes devices, rules and routes in cleanup_net. So what stays is held by something, most often a program that a test started in the lab.

The message says what was found; ending the program that holds it (lsns -t net names it) removes the rest. Please report it with the result file: this should not happen.`,
		[]string{ChildDied, InternalError}},
	{ChildDied, "a process of the lab died",
		`A process that tcplab started for the experiment ended before its time, or was killed.

SIGKILL most often comes from the kernel's out-of-memory killer (oom_kill_process, mm/oom_kill.c) or from somebody who ended processes by name. The kernel closes its sockets, so the other end of a connection may see an RST or a FIN that belongs to no experiment.

Look into the kernel log for "Out of memory". The run has no verdict; run it again.`,
		[]string{LeftBehind, Stall}},
	{InternalError, "tcplab made a mistake",
		`Something happened that tcplab's own code rules out. The run has no verdict.

This is a bug in tcplab and says nothing about the kernel.

Please report it with the command line, the version (tcplab version) and the result file, if there is one.`,
		[]string{LeftBehind, ChildDied}},
	{MachineEnded, "the virtual machine ended before it had answered",
		`The guest's kernel panicked, hung, ran out of memory, or the machine was killed. What it had not sent is lost; runs that were whole are kept.

A guest that ends by itself most often panicked (panic, kernel/panic.c): the last lines of its console say why. One that does not end is given up after ten minutes of this machine's time, or two days of its own. SIGKILL comes from the out-of-memory killer, or from somebody.

The console's last lines are in the message. Run it again; in real time (--real-time), if it happens in virtual time only.`,
		[]string{NoMachine, ChildDied}},
	{PartsMissing, "the parts of a list of runs are not the whole",
		`tcplab report was given runs that several processes shared (--shard), and not every run of the list is there once. Nothing was shown, because what is missing may be what failed.

Each result says which run of which list it is, how many runs and parts the list has, and a hash of the list: its experiments, parameters, repeats and the kernel. A part is missing where its job was never started, was killed, or could not make its run; its own output says so. A run is there more than once where a part was made again beside the first one, and runs of another list belong to another command.

Make the part again that is named (--shard=I/N with the same command), and keep the folders of one list apart from those of another. tcplab report --partial shows what there is.`,
		[]string{MachineEnded, ChildDied, InvalidFile}},
}
