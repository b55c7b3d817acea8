package result

// Evidence is what the kernel itself told of a run, besides the captures and inet_diag.
type Evidence struct {
	// Tracepoints is true where eBPF followed the kernel's tracepoints; else a note says what was missing.
	Tracepoints bool          `json:"tracepoints"`
	Lost        int           `json:"lost"` // events that found no room: what is missing may have happened
	Events      []KernelEvent `json:"events,omitempty"`
	Counters    []Counter     `json:"counters,omitempty"` // what changed from before the first packet until the end, by name within each host
}

// The values of KernelEvent.Hook: the tracepoints that are followed.
const (
	HookRetransmit = "tcp_retransmit_skb"    // a segment is sent again
	HookSynAck     = "tcp_retransmit_synack" // a SYN-ACK was sent again: by the request's timer or because a SYN came again
	HookState      = "inet_sock_set_state"   // a full socket changes its state; requests (SYN-RECV) and TIME-WAIT are no full sockets
	HookDrop       = "kfree_skb"             // a packet dies that was not delivered
	HookTimer      = "timer_expire_entry"    // a timer of TCP's fires
)

// KernelEvent is one hit of a tracepoint, to the microsecond.
type KernelEvent struct {
	At     Seconds `json:"at"`
	Host   string  `json:"host,omitempty"` // empty: TCP had the packet already, and nothing on it says which host's it was
	Hook   string  `json:"hook"`           // one of the Hook constants
	Packet int     `json:"packet,omitempty"`
	Src    string  `json:"src,omitempty"` // address and port: of a socket its own, of a packet its sender's
	Dst    string  `json:"dst,omitempty"`
	Seq    uint32  `json:"seq,omitempty"` // as on the wire
	// Segments is how many packets a repeat became, where it became more than one; Packet is the first of them.
	Segments int `json:"segments,omitempty"`
	// Cause is which mechanism sent a segment again: "RTO", "TLP", "fast retransmit", "RACK reordering timer", "loss recovery" (an ACK after
	// an RTO), "request timer", "answer to a repeated SYN", "other".
	Cause  string `json:"cause,omitempty"`
	Errno  string `json:"errno,omitempty"`  // why a repeat was not sent (told since Linux 6.18)
	Reason string `json:"reason,omitempty"` // of a drop, by the kernel's enum skb_drop_reason: "NETFILTER_DROP"
	Where  string `json:"where,omitempty"`  // the kernel function that dropped it: "nf_hook_slow"
	Was    string `json:"was,omitempty"`    // the state before
	State  string `json:"state,omitempty"`  // of the socket
	// Of a timer: the function that it calls, when the wheel had it due (the start of that jiffy), and by how much the wheel had rounded up the wait
	// that was asked for.
	Timer   string   `json:"timer,omitempty"`
	Due     *Seconds `json:"due,omitempty"`
	Rounded Seconds  `json:"rounded,omitempty"`
	// Of a full socket, in that moment.
	CA       string  `json:"ca,omitempty"`      // "Open", "Disorder", "CWR", "Recovery", "Loss"
	Pending  string  `json:"pending,omitempty"` // the timer that is armed; empty inside the retransmission timer
	Retrans  int     `json:"retrans,omitempty"` // icsk_retransmits
	Backoff  int     `json:"backoff,omitempty"`
	RTO      Seconds `json:"rto,omitempty"`
	Cwnd     int     `json:"cwnd,omitempty"`     // segments
	Ssthresh int     `json:"ssthresh,omitempty"` // segments; 0 while it is still infinite
	InFlight int     `json:"packets_out,omitempty"`
}

// Counter is a counter of a host's kernel that changed, by the name that nstat(8) uses.
type Counter struct {
	Host  string `json:"host"`
	Name  string `json:"name"` // "TcpRetransSegs"
	Added uint64 `json:"added"`
}

// Added is by how much a host's counter grew.
func (e *Evidence) Added(host, name string) uint64 {
	for _, c := range e.Counters {
		if c.Host == host && c.Name == name {
			return c.Added
		}
	}
	return 0
}
