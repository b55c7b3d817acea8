package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/pcapout"
)

// Rule is a rule of iptables or ip6tables that drops or rejects packets.
type Rule struct {
	// IPv6: it is one of ip6tables. Host.Drop sets it by the host's address. Zero: iptables.
	IPv6  bool
	Table string // zero: "filter"; "raw", "mangle"
	Chain string // "INPUT", "OUTPUT", "PREROUTING" or "POSTROUTING", as far as the table has it
	// All makes it match every protocol, ICMP too. Zero: TCP only. It goes without ports and flags.
	All bool
	// From is the sender's address. Zero: any.
	From netip.Addr
	// FromPort and ToPort are the ports it matches. Zero: any.
	FromPort, ToPort uint16
	// LastPort makes ToPort the first of a range that ends with it. Zero: ToPort alone.
	LastPort uint16
	// Mask and Flags: of the flags in Mask, exactly those in Flags are set. Zero: any flags.
	Mask, Flags pcapout.Flags
	// MinLength is the least length in bytes of an IP packet that it matches, as IPv4 has it: the same packet of IPv6 is 20 bytes longer, and the
	// rule of ip6tables says so. Zero: any. From DataLength on there are only data segments.
	MinLength int
	// MaxLength is the greatest, in the same way. Zero: any. Below DataLength there are only segments without data, where timestamps are on and data are not few.
	MaxLength int
	// Payload says whether it matches segments that carry data, or those that carry none, to the byte. Zero: either.
	Payload Payload
	// Nth are the matching packets that it drops, counted from 1; the others pass. Each number counts once. Zero: all of them.
	Nth []int
	// Reject is what iptables answers with instead of being silent: "tcp-reset", "icmp-port-unreachable", "icmp-host-unreachable",
	// "icmp-net-unreachable", "icmp-admin-prohibited"; ip6tables has "tcp-reset", "icmp6-no-route", "icmp6-adm-prohibited",
	// "icmp6-addr-unreachable", "icmp6-port-unreachable". INPUT and OUTPUT of the table filter can. Zero: it drops.
	Reject string
	Text   string // what it matches, in words: "TCP SYN to :8080"
}

// Payload is what a segment carries.
type Payload int

// The payloads.
const (
	AnyPayload Payload = iota
	WithData
	WithoutData
)

// bytecode tells by the headers' own lengths whether a TCP segment carries data: a program for xt_bpf, which gets the packet from its IP
// header on. No match of iptables compares two lengths of a packet. The lab's packets of IPv6 have no extension headers.
func (p Payload) bytecode(ipv6 bool) string {
	yes, no := 1, 0
	if p == WithoutData {
		yes, no = 0, 1
	}
	if ipv6 {
		return assembled(
			"48 0 0 52",               // ldb [52], behind 40 bytes of IPv6
			"84 0 0 240", "116 0 0 2", // and #0xf0, rsh #2: the TCP header's length
			"7 0 0 0",              // tax
			"40 0 0 4", "45 0 1 0", // ldh [4], jgt x: the payload's length (RFC 8200, section 3)
			fmt.Sprintf("6 0 0 %d", yes), fmt.Sprintf("6 0 0 %d", no), // ret
		)
	}
	return assembled(
		"177 0 0 0",               // ldxb 4*([0]&0xf): the IP header's length
		"80 0 0 12",               // ldb [x+12]
		"84 0 0 240", "116 0 0 2", // and #0xf0, rsh #2: the TCP header's length
		"12 0 0 0", "7 0 0 0", // add x, tax: of both
		"40 0 0 2", "45 0 1 0", // ldh [2], jgt x: the packet's length
		fmt.Sprintf("6 0 0 %d", yes), fmt.Sprintf("6 0 0 %d", no), // ret
	)
}

// assembled writes a program as xt_bpf takes it.
func assembled(program ...string) string {
	return fmt.Sprintf("%d,%s", len(program), strings.Join(program, ","))
}

// DataLength is the least IP length in bytes that no TCP segment without data reaches: an IPv4 header of 20 bytes and the longest TCP
// header, of 60, are 80. Rule.MinLength of 100 and of lab.DataLength catch segments with at least 68 bytes of data where timestamps are on.
const DataLength = 100

// longerHeader is how much longer the header of IPv6 is than that of IPv4.
const longerHeader = 40 - 20

// segmentFlags are the flags that tell apart the segments of a handshake.
const segmentFlags = pcapout.FIN | pcapout.SYN | pcapout.RST | pcapout.ACK

// DropSYN drops the packets that open a connection to port, where they arrive.
func DropSYN(port uint16) Rule {
	return Rule{Chain: "INPUT", ToPort: port, Mask: segmentFlags, Flags: pcapout.SYN, Text: "TCP SYN to :" + number(port)}
}

// DropSYNACK drops the answers of port to those, where they arrive: at the client.
func DropSYNACK(port uint16) Rule {
	return Rule{Chain: "INPUT", FromPort: port, Mask: segmentFlags, Flags: pcapout.SYN | pcapout.ACK, Text: "TCP SYN-ACK from :" + number(port)}
}

// DropACK drops every segment to port with the ACK flag, where it arrives: all but the SYN.
func DropACK(port uint16) Rule {
	return Rule{Chain: "INPUT", ToPort: port, Mask: pcapout.ACK, Flags: pcapout.ACK, Text: "TCP with ACK to :" + number(port)}
}

// DropFIN drops the segments to port with the FIN flag, where they arrive.
func DropFIN(port uint16) Rule {
	return Rule{Chain: "INPUT", ToPort: port, Mask: pcapout.FIN, Flags: pcapout.FIN, Text: "TCP FIN to :" + number(port)}
}

// DropFINFrom drops the segments from port with the FIN flag, where they arrive: at the client.
func DropFINFrom(port uint16) Rule {
	return Rule{Chain: "INPUT", FromPort: port, Mask: pcapout.FIN, Flags: pcapout.FIN, Text: "TCP FIN from :" + number(port)}
}

// plainFlags are the flags of which a segment that opens, ends or resets nothing has none.
const plainFlags = pcapout.FIN | pcapout.SYN | pcapout.RST

// DropPlain drops the segments to port without SYN, FIN and RST, where they arrive: acknowledgements and data.
func DropPlain(port uint16) Rule {
	return Rule{Chain: "INPUT", ToPort: port, Mask: plainFlags, Text: "TCP without SYN, FIN or RST to :" + number(port)}
}

// DropPlainFrom drops the segments from port without SYN, FIN and RST, where they arrive: at the client.
func DropPlainFrom(port uint16) Rule {
	return Rule{Chain: "INPUT", FromPort: port, Mask: plainFlags, Text: "TCP without SYN, FIN or RST from :" + number(port)}
}

// DropAllFrom drops every packet of a host, of any protocol, where it arrives.
func DropAllFrom(host netip.Addr) Rule {
	return Rule{Chain: "INPUT", All: true, From: host, Text: "everything from " + host.String()}
}

// DropTo drops every TCP segment to the ports from first to last, where it arrives.
func DropTo(first, last uint16) Rule {
	return Rule{Chain: "INPUT", ToPort: first, LastPort: last, Text: fmt.Sprintf("TCP to :%d to :%d", first, last)}
}

// DropData drops chosen data segments to port, once each, where they arrive: the k-th of those with DataLength bytes or more, from 1.
// Repeats count like others. Without any k it drops all.
func DropData(port uint16, k ...int) Rule {
	text := "TCP data to :" + number(port)
	if len(k) > 0 {
		text += ", number" + plural(len(k))
		for i, n := range k {
			if i > 0 {
				text += ","
			}
			text += " " + strconv.Itoa(n)
		}
	}
	return Rule{Chain: "INPUT", ToPort: port, MinLength: DataLength, Nth: k, Text: text}
}

// DropBare drops the segments of an open connection to port that carry no data, where they arrive: acknowledgements and probes.
func DropBare(port uint16) Rule {
	return Rule{Chain: "INPUT", ToPort: port, Mask: pcapout.SYN | pcapout.ACK, Flags: pcapout.ACK, MaxLength: DataLength - 1,
		Text: "TCP without data to :" + number(port)}
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func number(port uint16) string { return strconv.Itoa(int(port)) }

// Program is what makes the rule: "iptables" or "ip6tables".
func (r Rule) Program() string { return programName(r.IPv6) }

func programName(ipv6 bool) string {
	if ipv6 {
		return "ip6tables"
	}
	return "iptables"
}

// TableName is Table, or its default.
func (r Rule) TableName() string {
	if r.Table == "" {
		return "filter"
	}
	return r.Table
}

// AfterCapture reports whether the host's own capture still sees what the rule drops: a packet socket sits between the link and
// netfilter, so it sees what INPUT and PREROUTING drop and never what OUTPUT and POSTROUTING drop.
func (r Rule) AfterCapture() bool { return r.Chain == "INPUT" || r.Chain == "PREROUTING" }

// nth is Nth in order, each once.
func (r Rule) nth() []int {
	k := slices.Clone(r.Nth)
	slices.Sort(k)
	return slices.Compact(k)
}

// every is a period of the statistic match that no experiment reaches: xt_statistic drops again after so many packets.
const every = 1_000_000

// Specs returns the rules as iptables arguments after "-A CHAIN": one, or one for each number in Nth. A later one counts only what the
// earlier ones let through.
func (r Rule) Specs() [][]string {
	nth := r.nth()
	if len(nth) == 0 {
		return [][]string{append(r.match(), r.target()...)}
	}
	var specs [][]string
	for i, k := range nth {
		spec := append(r.match(), "-m", "statistic", "--mode", "nth", "--every", strconv.Itoa(every), "--packet", strconv.Itoa(k-1-i))
		specs = append(specs, append(spec, r.target()...))
	}
	return specs
}

// Commands are the same as a person types them.
func (r Rule) Commands() []string {
	var out []string
	for _, spec := range r.Specs() {
		s := r.Program() + " -t " + r.TableName() + " -A " + r.Chain
		for _, w := range spec {
			if strings.Contains(w, " ") {
				w = "'" + w + "'"
			}
			s += " " + w
		}
		out = append(out, s)
	}
	return out
}

// Spec returns the first of Specs.
func (r Rule) Spec() []string { return r.Specs()[0] }

func (r Rule) match() []string {
	var spec []string
	if !r.All {
		spec = append(spec, "-p", "tcp")
	}
	if r.From.IsValid() {
		spec = append(spec, "-s", r.From.String())
	}
	if r.FromPort != 0 {
		spec = append(spec, "--sport", number(r.FromPort))
	}
	if r.LastPort != 0 {
		spec = append(spec, "--dport", number(r.ToPort)+":"+number(r.LastPort))
	} else if r.ToPort != 0 {
		spec = append(spec, "--dport", number(r.ToPort))
	}
	if r.Mask != 0 {
		spec = append(spec, "--tcp-flags", flagList(r.Mask), flagList(r.Flags))
	}
	if r.Payload != AnyPayload {
		spec = append(spec, "-m", "bpf", "--bytecode", r.Payload.bytecode(r.IPv6))
	}
	if r.MinLength != 0 || r.MaxLength != 0 {
		least, most := r.lengths()
		spec = append(spec, "-m", "length", "--length", strconv.Itoa(least)+":"+strconv.Itoa(most))
	}
	return spec
}

// lengths are MinLength and MaxLength, or lengths that every packet has, with the header of the family.
func (r Rule) lengths() (least, most int) {
	least, most = r.MinLength, r.MaxLength
	if r.IPv6 && least > 0 {
		least += longerHeader
	}
	switch {
	case most == 0:
		most = 65535
	case r.IPv6:
		most += longerHeader
	}
	return least, most
}

func (r Rule) target() []string {
	if r.Reject != "" {
		return []string{"-j", "REJECT", "--reject-with", r.Reject}
	}
	return []string{"-j", "DROP"}
}

func flagList(f pcapout.Flags) string {
	if f == 0 {
		return "NONE"
	}
	return f.String()
}

// check says what in the rule iptables would not see: it takes a number below 1 for another packet.
func (r Rule) check() error {
	if k := r.nth(); len(k) > 0 && (k[0] < 1 || k[len(k)-1] >= every) {
		return fmt.Errorf("rule for packets %v: want numbers from 1 to %d", r.Nth, every-1)
	}
	if r.LastPort != 0 && (r.ToPort == 0 || r.LastPort < r.ToPort) {
		return fmt.Errorf("rule for ports %d to %d: want a first port, and the last not before it", r.ToPort, r.LastPort)
	}
	if r.All && (r.FromPort != 0 || r.ToPort != 0 || r.Mask != 0 || r.Payload != AnyPayload) {
		return fmt.Errorf("rule for every protocol: got ports, flags or a payload, which only TCP has")
	}
	return nil
}

// takes reports whether the rule matches a segment to this port.
func (r Rule) takes(port uint16) bool {
	if r.LastPort != 0 {
		return r.ToPort <= port && port <= r.LastPort
	}
	return r.ToPort == 0 || r.ToPort == port
}

// Matches reports whether a segment that passes the rule's chain is one of those it counts. Without Nth those are the ones it drops;
// with Nth, Matcher tells which of them it drops.
func (r Rule) Matches(s pcapout.Segment) bool {
	least, most := r.lengths()
	if s.ICMP != nil && !r.All || r.From.IsValid() && r.From != s.Src.Addr() || s.Size < least || s.Size > most || s.Src.Addr().Is6() != r.IPv6 {
		return false
	}
	if r.Payload == WithData && s.Length == 0 || r.Payload == WithoutData && s.Length > 0 {
		return false
	}
	return (r.FromPort == 0 || r.FromPort == s.Src.Port()) && r.takes(s.Dst.Port()) && s.Flags&r.Mask == r.Flags
}

// Verb is what the rule does, as a word: "drops" or "rejects".
func (r Rule) Verb() string {
	if r.Reject != "" {
		return "rejects"
	}
	return "drops"
}

// Matcher returns a function that tells of each segment whether the rule drops it. Call it once for each segment that passes the rule's
// chain, in their order: it counts, as the rule does.
func (r Rule) Matcher() func(pcapout.Segment) bool {
	nth, seen := r.nth(), 0
	return func(s pcapout.Segment) bool {
		if !r.Matches(s) {
			return false
		}
		seen++
		return len(nth) == 0 || slices.Contains(nth, seen)
	}
}
