package evidence

import (
	"net/netip"
	"time"
)

// Kind is a tracepoint.
type Kind int

// The tracepoints that are followed; numbered as in trace.c.
const (
	Retransmit  Kind = 1 + iota // tcp:tcp_retransmit_skb: a segment is sent again
	SynAck                      // tcp:tcp_retransmit_synack: a SYN-ACK was sent again
	StateChange                 // sock:inet_sock_set_state: full sockets only, so never a request's SYN-RECV
	Drop                        // skb:kfree_skb: a packet dies that was not delivered
	Expire                      // timer:timer_expire_entry: a timer of TCP's fires
)

func (k Kind) String() string {
	return map[Kind]string{Retransmit: "tcp_retransmit_skb", SynAck: "tcp_retransmit_synack", StateChange: "inet_sock_set_state", Drop: "kfree_skb", Expire: wheelPoint}[k]
}

// The causes of a repeat.
const (
	CauseRTO          = "RTO"                      // the retransmission timer fired
	CauseTLP          = "TLP"                      // the tail loss probe timer fired
	CauseRecovery     = "fast retransmit"          // acknowledgements told of the loss
	CauseReorder      = "RACK reordering timer"    // as above, after a wait for what may only be late
	CauseLoss         = "loss recovery"            // an acknowledgement came after the timer had marked everything lost
	CauseRequestTimer = "request timer"            // of a half-open connection
	CauseRepeatedSYN  = "answer to a repeated SYN" // tcp_check_req
	CauseOther        = "other"                    // none of these: a smaller path MTU, for one
)

// The timers of a socket, by the function that they call.
const (
	WriteTimer     = "tcp_write_timer"     // retransmissions, tail loss probes, reordering, window probes
	DelackTimer    = "tcp_delack_timer"    // delayed ACKs
	KeepaliveTimer = "tcp_keepalive_timer" // keepalive, FIN-WAIT-2
	RequestTimer   = "reqsk_timer_handler" // SYN-ACKs of a half-open connection
	TimeWaitTimer  = "tw_timer_handler"    // the end of TIME-WAIT, and of FIN-WAIT-2 without a full socket
)

// firing are they by number, as in trace.c.
var firing = map[uint32]string{1: WriteTimer, 2: DelackTimer, 3: KeepaliveTimer, 4: RequestTimer, 5: TimeWaitTimer}

// Event is one hit of a tracepoint. Which fields are set depends on the kind.
type Event struct {
	Mono     time.Duration // CLOCK_MONOTONIC
	Kind     Kind
	Host     string         // empty: the packet carried no namespace any more, only an address of the lab (TCP had taken it from its device)
	Src, Dst netip.AddrPort // of a socket: local and remote; of a packet: as in its headers
	Seq      uint32         // of the segment; of a SYN-ACK its initial sequence number
	EndSeq   uint32         // Retransmit: the number after the segment
	Cause    string         // Retransmit, SynAck
	N        int            // SynAck: how often the request's timer had fired (num_timeout)
	Errno    int            // Retransmit: why it was not sent (since Linux 6.18; before, only those that were sent are told); 0: it was
	State    string         // of the socket; StateChange: the new one
	Was      string         // StateChange: the state before
	Timers   Timers         // Retransmit, StateChange

	// Of an Expire. Bucket is the jiffy (64 bits, as jiffies counts) in which the timer wheel had the timer due, Asked the one that it was armed for, before
	// the wheel rounded it up. Mono is when the kernel came to it.
	Timer         string
	Bucket, Asked uint64

	// Of a Drop.
	TCP    bool
	Flags  uint8  // of the TCP header
	Ack    uint32 // as on the wire
	Len    int    // bytes of data
	Reason string // "NETFILTER_DROP", by the kernel's own enum; "NOT_SPECIFIED" where it has none
	Where  string // the function that dropped it: "nf_hook_slow"
}

// Timers is what a full socket looked like in that moment.
type Timers struct {
	CA          string // icsk_ca_state: "Open", "Disorder", "CWR", "Recovery", "Loss"
	Pending     string // icsk_pending: "" inside the retransmission timer itself, which clears it first
	Retransmits int
	Backoff     int
	RTO         int // jiffies
	Cwnd        int
	Ssthresh    int // 0 while it is infinite
	Out         int // packets_out
	Retrans     int // retrans_out
	Lost        int // lost_out
	Sacked      int // sacked_out
}

// caStates by number (enum tcp_ca_state, include/uapi/linux/tcp.h).
var caStates = map[uint8]string{0: "Open", 1: "Disorder", 2: "CWR", 3: "Recovery", 4: "Loss"}

// pending by number (ICSK_TIME_*, include/net/inet_connection_sock.h).
var pending = map[uint8]string{0: "", 1: "retransmit", 2: "delayed ACK", 3: "probe", 4: "keepalive", 5: "TLP", 6: "reordering"}

const (
	caRecovery, caLoss             = 3, 4
	timeTLP, timeReorder, timeNone = 5, 6, 0
)

// cause says which mechanism sent a segment again. tcp_write_timer_handler clears icsk_pending before tcp_retransmit_timer, and leaves it
// for tcp_send_loss_probe and tcp_rack_reo_timeout, where only the timer itself, no longer armed, tells them from an acknowledgement; tcp_retransmit_timer enters Loss before it sends, and tcp_fastretrans_alert Recovery
// (net/ipv4/tcp_timer.c, tcp_output.c and tcp_input.c, the same in 6.1, 6.12 and 6.18).
func (raw *traceEvent) cause() string {
	switch {
	case raw.CaState == caLoss && raw.Pending == timeNone:
		return CauseRTO
	case raw.CaState == caLoss:
		return CauseLoss
	case raw.CaState == caRecovery && raw.Pending == timeReorder && raw.Armed == 0:
		return CauseReorder
	case raw.CaState == caRecovery:
		return CauseRecovery
	case raw.Pending == timeTLP && raw.Armed == 0:
		return CauseTLP
	}
	return CauseOther
}
