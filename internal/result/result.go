// Package result is what remains of a run: plain data, with a versioned JSON form that every report, test and other program reads.
//
// It is a leaf: it knows no lab, no capture and no oracle. The JSON form is additive only: a field may be added to v1, never
// renamed, retyped or removed. All times are offsets from the first packet of the experiment, in seconds; wall clock appears only
// in Started.
//
// Its one trap: an absent pointer (Seen, SentAt, ArrivedAt) means "was not seen", which is different from zero, the first packet.
package result

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Schema and PredictionSchema name the JSON forms.
const (
	Schema           = "tcplab.result/v1"
	PredictionSchema = "tcplab.prediction/v1"
)

// Verdict is the judgement on a run, a check or an event.
type Verdict string

// The verdicts. A run has the worst verdict of its checks, skips aside: Fail > Error > Inconclusive > Unable > Skip > Pass.
const (
	Pass         Verdict = "pass"
	Fail         Verdict = "fail"         // an expectation was contradicted
	Error        Verdict = "error"        // tcplab itself failed, or left something behind
	Inconclusive Verdict = "inconclusive" // the host stalled or the capture lost packets: neither a pass nor a contradiction
	Unable       Verdict = "unable"       // this machine cannot run it
	Skip         Verdict = "skip"         // not asked for, or not meaningful here
)

var severity = map[Verdict]int{Pass: 0, Skip: 1, Unable: 2, Inconclusive: 3, Error: 4, Fail: 5}

// Known reports whether v is one of the verdicts above.
func (v Verdict) Known() bool { _, ok := severity[v]; return ok }

// Worse returns the graver of two verdicts.
func Worse(a, b Verdict) Verdict {
	if severity[b] > severity[a] {
		return b
	}
	return a
}

// ExitCode is the process exit code that reports v: 0 pass, 1 fail, 3 unable, 4 skip, 5 inconclusive, 6 error.
func (v Verdict) ExitCode() int {
	switch v {
	case Pass:
		return 0
	case Fail:
		return 1
	case Unable:
		return 3
	case Skip:
		return 4
	case Inconclusive:
		return 5
	default:
		return 6
	}
}

// Result is one run of one experiment.
type Result struct {
	Schema     string      `json:"schema"` // always Schema
	Tool       Tool        `json:"tool"`
	Experiment Experiment  `json:"experiment"`
	Profile    string      `json:"profile"` // "textbook", "kernel" or "fast"
	Command    []string    `json:"command,omitempty"`
	Shard      *Shard      `json:"shard,omitempty"` // where the run was one of a list that several processes shared
	Started    time.Time   `json:"started"`         // wall clock, UTC
	Wall       Seconds     `json:"wall"`            // from start to teardown done
	Kernel     Kernel      `json:"kernel"`
	Params     []Param     `json:"params,omitempty"`
	Hosts      []Host      `json:"hosts,omitempty"`
	Sysctls    []Sysctl    `json:"sysctls,omitempty"`
	Rules      []Rule      `json:"rules,omitempty"`
	Captures   []Capture   `json:"captures,omitempty"`
	Link       *Link       `json:"link,omitempty"` // where it has an RTT that was asked for; else it is a veth
	Clock      Clock       `json:"clock"`
	Prediction *Prediction `json:"prediction,omitempty"` // made before the run
	Events     []Event     `json:"events,omitempty"`     // expected and seen, joined, in time order
	Outcome    *Event      `json:"outcome,omitempty"`    // how connect(2) ended
	Packets    []Packet    `json:"packets,omitempty"`    // every packet, paired between the captures, in time order
	States     []State     `json:"states,omitempty"`     // changes of TCP state that inet_diag showed
	Samples    []Sample    `json:"samples,omitempty"`    // the kernel's own timer, as inet_diag showed it
	// LookAt is the client's port of the connection that the states are of, and the samples without a port, where several clients come from ports
	// of their own; 0: there is one client, or each has a server's port of its own.
	LookAt     int         `json:"look_at,omitempty"`
	Evidence   *Evidence   `json:"evidence,omitempty"` // what the kernel's tracepoints and counters told; absent: nobody asked
	Stalls     []Stall     `json:"stalls,omitempty"`
	Load       *Load       `json:"load,omitempty"`    // how short of processors the machine was meanwhile; absent: it does not say
	Earlier    []Attempt   `json:"earlier,omitempty"` // attempts before this one, which were inconclusive (--on-inconclusive)
	Checks     []Check     `json:"checks"`
	Hypothesis *Hypothesis `json:"hypothesis,omitempty"` // on a failure: the model that fits what was seen
	Notes      []Note      `json:"notes,omitempty"`
	Story      []Sentence  `json:"story,omitempty"`
	Reproduce  []string    `json:"reproduce,omitempty"` // shell commands that do the same by hand
	Verdict    Verdict     `json:"verdict"`
	Reason     string      `json:"reason,omitempty"` // one line, where the verdict is not Pass
}

// Tool is the program that made the result.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Experiment says what was run.
type Experiment struct {
	Name     string `json:"name"`     // "exp1-syn-loss"
	Summary  string `json:"summary"`  // "every SYN is lost on its way to the server"
	Question string `json:"question"` // what the experiment asks
}

// Kernel is the kernel that was tested, with the facts that the prediction stands on.
type Kernel struct {
	Release string `json:"release"` // uname -r
	Version string `json:"version"` // "6.18"
	Arch    string `json:"arch"`
	HZ      int    `json:"hz"` // timer interrupts a second
	CPUs    int    `json:"cpus,omitempty"`
	Facts   []Fact `json:"facts,omitempty"`
}

// Fact is one fact about a kernel and where it came from.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"` // "file tcp_syn_linear_timeouts exists", "clock_getres", "kernel version", "--hz"
}

// Param is a parameter of the experiment.
type Param struct {
	Name  string `json:"name"` // flag name without dashes: "syn-retries"
	Value string `json:"value"`
	From  string `json:"from"` // "flag", "profile", "default", "kernel"
}

// Host is one end of the lab.
type Host struct {
	Name  string `json:"name"` // "client"
	Addr  string `json:"addr"` // "10.99.0.1"
	Iface string `json:"iface"`
	MAC   string `json:"mac,omitempty"`
	Port  int    `json:"port,omitempty"` // where it listens, 0 for none
}

// Sysctl is one setting of one host.
type Sysctl struct {
	Host   string `json:"host"`
	Name   string `json:"name"` // "net.ipv4.tcp_syn_retries"
	Was    string `json:"was"`  // in the new namespace, before tcplab set it
	Now    string `json:"now"`  // read back after it was set
	Here   string `json:"here"` // the same knob on the machine that runs tcplab, never changed
	Origin string `json:"origin"`
	Code   string `json:"code,omitempty"` // `tcplab explain` knows more
	// Matters marks a setting that this experiment is about; the others are the pinned baseline.
	Matters bool `json:"matters,omitempty"`
}

// Rule is an iptables rule and what it caught.
type Rule struct {
	Host    string   `json:"host"`
	Table   string   `json:"table"`
	Chain   string   `json:"chain"`             // "INPUT"
	Text    string   `json:"text"`              // "TCP SYN to :8080"
	Program string   `json:"program,omitempty"` // "ip6tables"; absent: iptables
	Spec    []string `json:"spec"`              // arguments for its -A
	Reject  string   `json:"reject,omitempty"`  // what it answers with instead of being silent: "tcp-reset"
	Packets uint64   `json:"packets"`
	Bytes   uint64   `json:"bytes"`
	// AfterCapture is true where the host's own capture still sees what the rule drops (INPUT), false where it does not (OUTPUT).
	AfterCapture bool `json:"after_capture"`
}

// Tool is the program that made the rule: iptables or ip6tables.
func (r Rule) Tool() string { return cmp.Or(r.Program, "iptables") }

// Between reports whether the rule is on a router: the sender's capture shows what it drops, and the receiver's does not.
func (r Rule) Between() bool { return r.Chain == "FORWARD" }

// Clock ties capture times to jiffies.
type Clock struct {
	// Known is true where the phase of jiffies at the start was known, so that predictions are exact to the tick.
	Known bool    `json:"known"`
	From  string  `json:"from"`           // "/proc/timer_list", or why the phase is not known
	Tick  Seconds `json:"tick"`           // length of one jiffy
	Error Seconds `json:"error"`          // half the interval that the start of a jiffy was measured to
	Start uint64  `json:"start_jiffies"`  // jiffies in which the first packet was sent; 0 where unknown
	Phase Seconds `json:"start_phase"`    // how far into that jiffy
	Step  Seconds `json:"realtime_moved"` // how far CLOCK_REALTIME was moved against CLOCK_MONOTONIC during the run, at most
}

// Prediction is what `tcplab predict --json` prints and what a run stores before it starts.
type Prediction struct {
	Schema     string            `json:"schema"` // always PredictionSchema
	Experiment string            `json:"experiment"`
	Profile    string            `json:"profile"`
	Kernel     string            `json:"kernel"` // "6.18"
	HZ         int               `json:"hz"`
	Facts      []Fact            `json:"facts,omitempty"`
	Params     []Param           `json:"params,omitempty"`
	Sysctls    map[string]string `json:"sysctls"` // "client.net.ipv4.tcp_syn_retries": "2"
	Events     []Event           `json:"events"`
	Outcome    *Event            `json:"outcome,omitempty"`
	Cases      []Case            `json:"cases,omitempty"` // the table that answers the experiment's question, where it has one
	Notes      []Note            `json:"notes,omitempty"`
}

// Event is one thing that a host does: expected, seen, or both.
type Event struct {
	At       Seconds `json:"at"`                 // nominal time by the kernel's formula
	Late     Seconds `json:"late"`               // how much later than At it may come: the timer wheel
	Earliest Seconds `json:"earliest,omitempty"` // first instant that the timers can reach: At or a little after; before Linux 4.8 up to a jiffy before
	Tick     int64   `json:"tick,omitempty"`     // exact jiffy, counted from the start's; 0 where the phase was not known
	// GapEarliest and GapLatest bound the time since the event before.
	GapEarliest Seconds `json:"gap_earliest,omitempty"`
	GapLatest   Seconds `json:"gap_latest,omitempty"`
	Host        string  `json:"host"`
	What        string  `json:"what"` // "syn", "syn-retransmission", ..., "connect-error"
	N           int     `json:"n,omitempty"`
	Errno       string  `json:"errno,omitempty"`
	Why         string  `json:"why,omitempty"`
	Maybe       bool    `json:"maybe,omitempty"`
	// Port tells whose event it is, where there are several connections side by side: the server's port, or the client's where the result has a
	// look_at.
	Port int `json:"port,omitempty"`
	// Chain names the timer that the event belongs to, where the host has more than one at work; a gap counts within it.
	Chain string `json:"chain,omitempty"`
	// RelSeq, RelAck and Len are predicted where Exact is set: relative numbers and bytes of data.
	RelSeq uint32 `json:"rel_seq,omitempty"`
	RelAck uint32 `json:"rel_ack,omitempty"`
	Len    int    `json:"len,omitempty"`
	Exact  bool   `json:"exact,omitempty"`
	// Since is when a state was still seen whose end the event is: it came between Since and Seen.
	Since    *Seconds `json:"since,omitempty"`
	Seen     *Seconds `json:"seen,omitempty"`     // when it was seen; absent: it was not
	Ended    *Seconds `json:"ended,omitempty"`    // when the kernel ended the connection, by its tracepoint; a program learned it at "seen"
	Due      *Seconds `json:"due,omitempty"`      // start of the jiffy in which the kernel's timer wheel had its timer due, by its tracepoint
	OnTick   bool     `json:"on_tick,omitempty"`  // that is the predicted jiffy
	OffTick  *Seconds `json:"off_tick,omitempty"` // seen minus the start of the predicted jiffy
	Packet   int      `json:"packet,omitempty"`   // Packet.ID
	Expected bool     `json:"expected"`           // false: it was seen and nobody predicted it
	Verdict  Verdict  `json:"verdict,omitempty"`  // absent in a prediction
	SeenErr  string   `json:"seen_errno,omitempty"`
}

// AfterTick is how long after the start of its predicted jiffy the kernel did it: by the kernel's own record, where a program learned it later, else by
// when it was seen. Nil: there is no predicted jiffy.
func (e Event) AfterTick() *Seconds {
	if e.OffTick == nil || e.Ended == nil || e.Seen == nil {
		return e.OffTick
	}
	if kernel := *e.OffTick - (*e.Seen - *e.Ended); kernel >= 0 {
		return &kernel
	}
	return e.OffTick // of several jiffies that were left open, the record has another
}

// The values of Packet.FastOpen that are no cookie.
const (
	FastOpenRequest    = "request"             // asks for a cookie in the option of RFC 7413, kind 34
	FastOpenExperiment = "request, option 254" // asks in the option of its drafts, kind 254
)

// Packet is one packet, paired between the two captures.
type Packet struct {
	ID     int    `json:"id"` // from 1, in time order; epb_packetid in both capture files
	From   string `json:"from"`
	To     string `json:"to"`
	What   string `json:"what"`
	N      int    `json:"n,omitempty"`
	Flags  string `json:"flags"` // "SYN", "SYN,ACK"
	Seq    uint32 `json:"seq"`   // as on the wire
	RelSeq uint32 `json:"rel_seq"`
	Ack    uint32 `json:"ack,omitempty"`
	RelAck uint32 `json:"rel_ack,omitempty"`
	Len    int    `json:"len"` // TCP payload bytes
	// Frame is the length of the frame in bytes, from the Ethernet header on, where the link has a rate; else absent.
	Frame int `json:"frame,omitempty"`
	// SrcPort and DstPort tell connections apart.
	SrcPort int `json:"src_port,omitempty"`
	DstPort int `json:"dst_port,omitempty"`
	Window  int `json:"window,omitempty"` // as in the header: not scaled
	MSS     int `json:"mss,omitempty"`    // the option of a SYN or SYN-ACK
	// WindowScale is, of a SYN, the shift of its Window Scale option (RFC 7323 section 2.2); -1: it has no such option. Absent: no SYN.
	// Both ends must send it for windows to be scaled, and the window of a SYN itself never is.
	WindowScale *int `json:"window_scale,omitempty"`
	// SACK are the blocks of a selective acknowledgement, as relative numbers: [left, right).
	SACK [][2]uint32 `json:"sack,omitempty"`
	// FastOpen is the Fast Open option: FastOpenRequest or FastOpenExperiment for an empty one, else the cookie in hexadecimal; empty:
	// there is none.
	FastOpen string `json:"fast_open,omitempty"`
	Detail   string `json:"detail,omitempty"` // what the analyser has to say of it: "answers SYN again 2"
	// SentAt and ArrivedAt are the times at the sender's and the receiver's capture point; absent: not seen there.
	SentAt    *Seconds `json:"sent_at,omitempty"`
	ArrivedAt *Seconds `json:"arrived_at,omitempty"`
	Fate      Fate     `json:"fate"`
	Where     string   `json:"where,omitempty"` // "server iptables filter INPUT"
	// DropReason and DropHook are what kfree_skb told of its end: why, by the kernel's own enum ("NETFILTER_DROP"), and in which function
	// ("nf_hook_slow"). A delivered packet can have them too: TCP took it and threw it away ("TCP_OLD_DATA").
	DropReason string `json:"drop_reason,omitempty"`
	DropHook   string `json:"drop_hook,omitempty"`
	// Cause is which of the kernel's mechanisms sent a repeat, see KernelEvent.Cause. Empty: the kernel did not tell of one.
	Cause   string `json:"cause,omitempty"`
	Comment string `json:"comment,omitempty"`
}

// At is the packet's time where it was seen first.
func (p Packet) At() time.Duration {
	if p.SentAt != nil {
		return p.SentAt.Duration()
	}
	if p.ArrivedAt != nil {
		return p.ArrivedAt.Duration()
	}
	return 0
}

// Fate says what became of a packet.
type Fate string

// The fates. Dropped stands on a rule's counter; Lost only on the packet's absence.
const (
	Delivered Fate = "delivered" // seen at the receiver, and no rule caught it
	Dropped   Fate = "dropped"   // a rule of the lab caught it: see Where
	Lost      Fate = "lost"      // left the sender, was not seen at the receiver
)

// State is a change of a socket's TCP state, as inet_diag showed it.
type State struct {
	At    Seconds `json:"at"` // when the sample that first showed it was taken
	Host  string  `json:"host"`
	State string  `json:"state"` // "SYN-SENT", "CLOSED"
}

// Sample is one look at a socket with inet_diag.
type Sample struct {
	At Seconds `json:"at"`
	// Took is how long the look took, which ended at At: what it shows was so at some moment of that time. 0: less than a millisecond.
	Took Seconds `json:"took,omitempty"`
	Host string  `json:"host"`
	// Port is that of the connection, where there are several side by side: the server's, or the client's where the result has a look_at. They are looked at less
	// often, and nothing is judged by them.
	Port    int     `json:"port,omitempty"`
	State   string  `json:"state"`
	Timer   string  `json:"timer,omitempty"`   // "retransmit", "keepalive", "" for none
	Expires Seconds `json:"expires,omitempty"` // until the timer fires, by the kernel's own account
	Retrans int     `json:"retrans"`           // icsk_retransmits
	Backoff int     `json:"backoff"`
	RTO     Seconds `json:"rto,omitempty"`
	// Of a full socket; a half-open connection has none of these.
	Cwnd      int `json:"cwnd,omitempty"`       // segments
	Ssthresh  int `json:"ssthresh,omitempty"`   // segments; 0 while it is still infinite
	Unacked   int `json:"unacked,omitempty"`    // segments in flight; of a listener, connections that wait to be accepted
	SendQueue int `json:"send_queue,omitempty"` // bytes not acknowledged; of a listener, how many connections may wait
	RecvQueue int `json:"recv_queue,omitempty"` // bytes not read; of a listener, connections that wait
}

// Stall is a time in which a processor of this machine, or a process of the lab, did not run what was due.
type Stall struct {
	At  Seconds `json:"at"` // when it was due
	For Seconds `json:"for"`
	CPU int     `json:"cpu"` // -1: not a processor but the Process
	// Process is the process that did not run, "client"; empty: it was a processor.
	Process string `json:"process,omitempty"`
}

// Load is how short of processors this machine was, from the start of the lab to the judgement, as the kernel counts it. It explains stalls and
// decides nothing.
type Load struct {
	Over   Seconds  `json:"over"`             // how long that was
	Waited *Seconds `json:"waited,omitempty"` // some task waited for a processor: /proc/pressure/cpu
	Stolen *Seconds `json:"stolen,omitempty"` // a hypervisor gave a processor to others, summed over all: /proc/stat
}

// Attempt is an earlier run of the same, which decided nothing.
type Attempt struct {
	Folder string `json:"folder"` // of its files; it is kept
	Reason string `json:"reason"` // why it was inconclusive
}

// Check is one expectation and how it went.
type Check struct {
	ID         string  `json:"id"`   // "syn-retransmission-1", "errno"
	Name       string  `json:"name"` // "SYN again 1"
	Expected   string  `json:"expected"`
	Observed   string  `json:"observed"`
	Allowed    string  `json:"allowed,omitempty"` // "1.000 … 1.036 s"
	Gap        string  `json:"gap,omitempty"`     // since the packet before
	AllowedGap string  `json:"allowed_gap,omitempty"`
	Verdict    Verdict `json:"verdict"`
	Code       string  `json:"code,omitempty"`   // "TL1101": `tcplab explain TL1101`
	Detail     string  `json:"detail,omitempty"` // why it is not a pass
}

// Hypothesis is another model of the kernel or the lab, tested against the same capture.
type Hypothesis struct {
	Code    string `json:"code"`
	Text    string `json:"text"`              // "this kernel uses tcp_syn_linear_timeouts=4"
	Fits    int    `json:"fits"`              // events of the run that it explains
	Of      int    `json:"of"`                // events of the run
	Command string `json:"command,omitempty"` // shows more
}

// Note is something the reader should know that is not a check.
type Note struct {
	Code string `json:"code,omitempty"`
	Text string `json:"text"`
}

// Sentence is one sentence of "what happened", with the packets it speaks of.
type Sentence struct {
	Text    string `json:"text"`
	Packets []int  `json:"packets,omitempty"`
}

// Judge sets the run's verdict to the worst of its checks. A check that was skipped says nothing about a run in which others passed,
// and a run without a check that passed is never a pass.
func (r *Result) Judge() {
	v, passed := Pass, false
	for _, c := range r.Checks {
		if c.Verdict != Skip {
			v = Worse(v, c.Verdict)
		}
		passed = passed || c.Verdict == Pass
	}
	if v == Pass && !passed {
		v = Skip
	}
	r.Verdict = v
}

// Tally counts the checks that passed and all that were judged (skips are not).
func (r *Result) Tally() (passed, all int) {
	for _, c := range r.Checks {
		if c.Verdict == Skip {
			continue
		}
		all++
		if c.Verdict == Pass {
			passed++
		}
	}
	return passed, all
}

// Write writes the JSON form, indented, with a final newline.
func (r *Result) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// Read reads the JSON form. Unknown fields are allowed (the form is additive); another schema, an unknown verdict, trailing bytes or
// input over 256 MiB are errors.
func Read(rd io.Reader) (*Result, error) {
	const limit = 256 << 20
	b, err := io.ReadAll(io.LimitReader(rd, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("result: %w", err)
	case len(b) > limit:
		return nil, fmt.Errorf("result: larger than %d MiB", limit>>20)
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	if head.Schema != Schema { // before the rest, which another schema may shape differently
		return nil, fmt.Errorf("result: schema is %q, want %q", head.Schema, Schema)
	}
	var r Result
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	return &r, r.validate()
}

func (r *Result) validate() error {
	if !r.Verdict.Known() {
		return fmt.Errorf("result: verdict %q is not one of pass, fail, error, inconclusive, unable, skip", r.Verdict)
	}
	for _, c := range r.Checks {
		if !c.Verdict.Known() {
			return fmt.Errorf("result: check %q: verdict %q is not one of pass, fail, error, inconclusive, unable, skip", c.ID, c.Verdict)
		}
	}
	return nil
}
