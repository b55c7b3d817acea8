package spec

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Role is the part that a packet has in a TCP connection.
type Role string

// The roles.
const (
	SYN    Role = "syn"    // opens: SYN without ACK
	SYNACK Role = "synack" // answers that
	ACK    Role = "ack"    // says nothing but an acknowledgement: no data, no SYN, FIN or RST. The third packet of a handshake is ack[1]
	Data   Role = "data"   // carries data, whatever its flags
	FIN    Role = "fin"
	RST    Role = "rst"
	All    Role = "all" // every packet of a host, of any protocol
)

var roles = []string{string(SYN), string(SYNACK), string(ACK), string(Data), string(FIN), string(RST), string(All)}

// Limits of the numbers of packets, which become one rule each.
const (
	maxNth = 999_999
	mostOf = 100
)

// parseRole reads "syn", "syn[1..2]", "data[15,19] once". Packets are counted where they are dropped, from 1, repeats too, and each number is
// dropped once. "once" alone is the first.
func parseRole(s string) (Role, []int, error) {
	text := strings.TrimSpace(s)
	rest, once := strings.CutSuffix(text, " once")
	rest = strings.TrimSpace(rest)
	name, numbers, indexed := strings.Cut(rest, "[")
	name = strings.TrimSpace(name)
	if !slices.Contains(roles, name) {
		return "", nil, fmt.Errorf("no packets are called %q: want %s%s", name, orList(roles), didYouMean(name, roles))
	}
	role := Role(name)
	if !indexed {
		if once {
			return role, []int{1}, nil
		}
		return role, nil, nil
	}
	list, ok := strings.CutSuffix(numbers, "]")
	if !ok {
		return "", nil, fmt.Errorf("%q: want a closing bracket, as in %s[1..2]", s, name)
	}
	nth, err := parseNumbers(list)
	if err != nil {
		return "", nil, fmt.Errorf("%q: %w", s, err)
	}
	if role == All {
		return "", nil, errors.New("all counts no packets: leave the numbers away, or name a part, as in data[3]")
	}
	return role, nth, nil
}

// parseNumbers reads "3", "1..2", "15,19".
func parseNumbers(list string) ([]int, error) {
	var nth []int
	for _, part := range strings.Split(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "..")
		if !isRange {
			last = first
		}
		a, err1 := strconv.Atoi(strings.TrimSpace(first))
		b, err2 := strconv.Atoi(strings.TrimSpace(last))
		switch {
		case err1 != nil || err2 != nil:
			return nil, fmt.Errorf("want numbers such as [3], [1..2] or [15,19], got [%s]", list)
		case a < 1 || b > maxNth || b < a:
			return nil, fmt.Errorf("want numbers from 1 to %d, the smaller first, got [%s]", maxNth, list)
		case len(nth)+b-a+1 > mostOf:
			return nil, fmt.Errorf("want %d packets at most, got [%s]", mostOf, list)
		}
		for k := a; k <= b; k++ {
			if !slices.Contains(nth, k) {
				nth = append(nth, k)
			}
		}
	}
	slices.Sort(nth)
	return nth, nil
}

// sender is the end that such packets come from; "" where both do.
func (r Role) sender() string {
	switch r {
	case SYN:
		return "client"
	case SYNACK:
		return "server"
	}
	return ""
}

func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// didYouMean is a suggestion to add to a message, or "".
func didYouMean(word string, known []string) string {
	best, limit := "", max(len(word)/3, 2)+1
	for _, k := range known {
		if d := distance(word, k); d < limit && d < max(len(word), len(k)) {
			best, limit = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is the number of letters to add, take away or change (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
