package peer

import "github.com/tcplab/tcplab/internal/timeline"

// Right is who of the two is right about a packet.
type Right string

// The values of Right. Where tcplab were wrong, its analyser would be mended: there is no row of that kind.
const (
	Both   Right = "both" // the same thing in other words, or nothing to say
	Deeper Right = "both; tcplab says why"
	Tcplab Right = "tcplab"
)

// A Judgement is who is right about a pair, and what the kernel says to it.
type Judgement struct {
	Right Right
	Why   string
	Load  Load
}

// Load is what the load of the machine decides of a pair.
type Load int

// The values of Load.
const (
	Never Load = iota // nothing: the packet comes, and Wireshark calls it that
	Word              // which of its words Wireshark has for it: its rules count milliseconds. The packet comes
	Comes             // whether the packet comes
)

// Judge is what is known of a pair; ok is false for one that nobody has looked at.
func Judge(p Pair) (j Judgement, ok bool) {
	j, ok = judgements[p]
	return j, ok
}

const nothing = "An ordinary packet: Wireshark's analysis has no name for it."

var judgements = map[Pair]Judgement{
	{timeline.SYN, ""}:    {Both, nothing, Never},
	{timeline.SYNACK, ""}: {Both, nothing, Never},
	{timeline.ACK, ""}:    {Both, nothing, Comes},
	{timeline.Data, ""}:   {Both, nothing, Never},
	{timeline.FIN, ""}:    {Both, nothing, Never},
	{timeline.RST, ""}:    {Both, nothing, Never},
	{timeline.ICMP, ""}:   {Both, nothing, Never},

	{timeline.SYNRetransmission, "retransmission"}: {Deeper, "The kernel's `tcp_retransmit_skb` comes in SYN-SENT, with the cause RTO.", Never},
	{timeline.SYNACKAgain, "retransmission"}: {Deeper, "`tcp_retransmit_synack` tells which of two mechanisms it was. Here the request's timer fired; " +
		"Wireshark has one word for this and the next.", Never},
	{timeline.SYNACKAnswer, "retransmission"}: {Deeper, "The same tracepoint comes while the request's timer is armed: the kernel answers a SYN that came again (`tcp_check_req`). " +
		"No timer of the server's has fired, and its backoff has not grown.", Never},
	{timeline.RTORetransmission, "retransmission"}: {Deeper, "`tcp_retransmit_skb` with the congestion state Loss, from inside the retransmission timer. Wireshark's `tcp.analysis.rto` " +
		"counts from the first copy, so from the second repeat on it is a sum of timeouts and not one.", Never},
	{timeline.TailLossProbe, "retransmission"}: {Tcplab, "`tcp_retransmit_skb` in the state Open, from the probe timer (TLP), and `TcpExtTCPLossProbes` grows: the retransmission timer has not " +
		"fired and the window has not shrunk. Wireshark counts it as a retransmission after a timeout.", Never},
	{timeline.FastRetransmit, "retransmission+fast_retransmission"}: {Deeper, "`tcp_retransmit_skb` in the state Recovery. Wireshark says so where the sender had two duplicate ACKs and the repeat " +
		"came within 20 ms of the last.", Word},
	{timeline.FastRetransmit, "retransmission"}: {Tcplab, "The same event, the same state Recovery: the kernel repeated it because SACK and RACK told of the loss. Wireshark's rule (two duplicate ACKs of " +
		"that very number, 20 ms) does not cover the second hole, nor a wait for reordering.", Word},
	{timeline.FastRetransmit, "out_of_order"}:   {Tcplab, "The state is Recovery and the bytes went out before: the sender's own capture has both copies.", Word},
	{timeline.DataAgain, "retransmission"}:      {Both, "Bytes again, by none of the mechanisms that have a name.", Comes},
	{timeline.DuplicateACK, "duplicate_ack"}:    {Both, "The same acknowledgement while data is missing.", Comes},
	{timeline.WindowUpdate, "window_update"}:    {Both, "The same acknowledgement with another window.", Comes},
	{timeline.WindowUpdate, ""}:                 {Tcplab, "The window changed and nothing else did. Wireshark says so only where it grew.", Comes},
	{timeline.ACK, "window_update"}:             {Tcplab, "The acknowledgement is new; that the window moved with it is no news of its own.", Comes},
	{timeline.KeepaliveProbe, "keep_alive"}:     {Both, "One number before the next, on an idle connection (`tcp_write_wakeup`).", Never},
	{timeline.KeepaliveACK, "window_update"}:    {Tcplab, "It answers a keepalive probe, and the window that it shows has grown since the handshake; nothing else made the kernel send it.", Word},
	{timeline.KeepaliveACK, "keep_alive_ack"}:   {Both, "The answer to a keepalive probe.", Never},
	{timeline.ChallengeACK, "duplicate_ack"}:    {Tcplab, "Nothing is missing: the kernel answers a segment that it does not take (`TcpExtTCPChallengeACK`, RFC 5961), with the reason TCP_INVALID_SYN for the SYN-ACK that came again. A duplicate ACK would ask for a repeat.", Never},
	{timeline.ChallengeACK, ""}:                 {Tcplab, "The kernel answers a segment that it does not take (`TcpExtTCPChallengeACK`, RFC 5961). Wireshark has no name for it.", Never},
	{timeline.FINAgain, "retransmission"}:       {Deeper, "`tcp_retransmit_skb` in FIN-WAIT-1 or LAST-ACK, with the cause RTO.", Never},
	{timeline.FINAgain, ""}:                     {Tcplab, "The kernel's `tcp_retransmit_skb` tells of it.", Word},
	{timeline.WindowProbe, "zero_window_probe"}: {Both, "A probe of a closed window, by the persist timer (`tcp_probe_timer`).", Never},
	{timeline.WindowProbe, "keep_alive"}: {Tcplab, "The peer's window is closed and inet_diag shows the timer `probe`: it is the persist timer that sent this (`tcp_probe_timer`). Linux probes with an old number " +
		"and no data, as it does for keepalive, and Wireshark looks for the one byte of RFC 9293.", Never},
	{timeline.WindowProbeACK, "zero_window_probe_ack"}:      {Both, "The answer to a probe of a closed window.", Never},
	{timeline.WindowProbeACK, "keep_alive_ack+zero_window"}: {Tcplab, "It answers the probe above, which Wireshark took for keepalive; that the window is still closed, both say.", Never},
	{timeline.WindowProbeACK, "zero_window"}:                {Tcplab, "It answers a probe that Wireshark took for keepalive: the kernel sends it at once and only because it was asked. That the window is closed, both say.", Never},
	{timeline.ACK, "zero_window"}:                           {Deeper, "A new acknowledgement that closes the window; tcplab says so beside the name.", Comes},
	{timeline.WindowUpdate, "zero_window"}:                  {Both, "The window closed, and nothing else changed.", Comes},
	{timeline.Data, "window_full"}:                          {Both, "It fills the window that the peer offered; tcplab leaves that to the graph.", Comes},
}
