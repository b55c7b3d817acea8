package page

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A message is a text of the program with its Chinese form. en is the format as it stands in the program's source, with %s, %d, %v and their
// like where values come; zh has {1}, {2} and so on in their place.
type message struct{ en, zh string }

// catalogue is every message that a page can show.
func catalogue() []message {
	return slices.Concat(zhPage, zhNames, zhChecks, zhStories, zhWindow, zhSettings, zhComments, zhWeb, zhFIN, zhReport, zhAnalyse, zhSpec, zhBacklog, zhTimeouts, zhTrust)
}

// pattern recognises a message in a text of a result, which holds no formats but what they were filled with.
type pattern struct {
	message
	prefix, suffix string // what is before the first value, and behind the last
	says           int    // bytes that are the message's own
	// re is made when a text begins and ends like this: there are hundreds of patterns, and a run needs a few. A guest's translated code took a
	// quarter of its time for the others.
	re func() *regexp.Regexp
}

func newPattern(m message, verbs [][]int) pattern {
	first, last := verbs[0], verbs[len(verbs)-1]
	p := pattern{message: m, prefix: printed(m.en[:first[0]]), suffix: printed(m.en[last[1]:]), says: len(m.en)}
	for _, v := range verbs {
		p.says -= v[1] - v[0]
	}
	p.re = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("^" + expression(m.en) + "$") })
	return p
}

// printed is a part of a format without verbs, as it is printed.
func printed(format string) string { return strings.ReplaceAll(format, "%%", "%") }

var patterns = sync.OnceValues(func() (exact map[string]string, open []pattern) {
	exact = map[string]string{}
	for _, m := range catalogue() {
		if !strings.Contains(m.en, "%") {
			exact[m.en] = m.zh
		} else if verbs := verb.FindAllStringIndex(m.en, -1); verbs == nil {
			exact[m.en] = m.zh
		} else {
			open = append(open, newPattern(m, verbs))
		}
	}
	// The one that says most itself comes first.
	slices.SortStableFunc(open, func(a, b pattern) int { return b.says - a.says })
	return exact, open
})

// verb is a verb of package fmt, as the program's messages use them.
var verb = regexp.MustCompile(`%[.0-9]*[sdvfgxq]`)

// expression is a regular expression for a format.
func expression(format string) string {
	var b strings.Builder
	rest := format
	for {
		at := verb.FindStringIndex(rest)
		if at == nil {
			b.WriteString(regexp.QuoteMeta(printed(rest)))
			return b.String()
		}
		b.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		switch rest[at[1]-1] {
		case 'd':
			b.WriteString(`(-?\d+)`)
		case 'q':
			b.WriteString(`"(.+?)"`)
		default:
			b.WriteString(`(.+?)`)
		}
		rest = rest[at[1]:]
	}
}

// plainWord is a word that needs no translation: a number with or without a unit, a name of the protocol or of an error in capitals, a
// sysctl, an option, an address, a call.
var plainWord = regexp.MustCompile(`^[(:+±-]*(` + strings.Join([]string{
	`[-+]?\d[\d.,:/x×a-f-]*(s|ms|µs|ns|h|m|m\d+s|h\d+m\d*s?)?`,                // 1.004, 20ms, 1/2, 15001-16001, 0x1f
	`s|ms|µs|ns|h|min|…|·|→|×|=|\+|-|–`,                                       // units and signs
	`[A-Z][A-Z0-9]*([-_/][A-Z0-9]+)*`,                                         // SYN-ACK, ETIMEDOUT
	`[A-Za-z][A-Za-z0-9_-]*=[-\d]+`,                                           // seq=1001, tcp_retries2=15
	`(net\.)?[a-z0-9]+([._][a-z0-9*-]+)+`,                                     // net.ipv4.tcp_sack
	`--[a-z0-9-]+(=\S*)?`,                                                     // --sack=off
	`/[a-z0-9_/.-]+`,                                                          // /proc/timer_list
	`(connect|read|write|close|shutdown|clock_getres)\([A-Z_2]*\)`,            // connect()
	`uname|dup|ip6?tables|raw|mangle|filter|nat|TCP|SYN|[0-9a-f]{16}|[a-z]+0`, // names as they are
}, "|") + `)[):,.;]*$`)

func plain(s string) bool {
	for w := range strings.FieldsSeq(s) {
		if !plainWord.MatchString(w) {
			return false
		}
	}
	return true
}

// longestText is longer than anything that the program says. What a stored file says at more length than that is not looked up: trying every
// pattern on it would take minutes.
const longestText = 2000

// translate gives the Chinese form of a text. It has one where the catalogue has its message and a form for each value in it, or where
// nothing in it needs one; ok says so. A text without one stays as it is.
func translate(en string) (zh string, ok bool) {
	if len(en) > longestText {
		return en, false
	}
	exact, open := patterns()
	if zh, ok := exact[en]; ok {
		return zh, true
	}
	for _, p := range open {
		if zh, ok := p.fill(en); ok {
			return zh, true
		}
	}
	return en, plain(en)
}

// fill translates a text that is this message, its values included.
func (p pattern) fill(en string) (string, bool) {
	if !strings.HasPrefix(en, p.prefix) || !strings.HasSuffix(en, p.suffix) {
		return "", false
	}
	m := p.re().FindStringSubmatch(en)
	if m == nil {
		return "", false
	}
	zh := p.zh
	for i, value := range m[1:] {
		v, ok := translate(value)
		if !ok {
			return "", false
		}
		zh = strings.ReplaceAll(zh, "{"+string(rune('1'+i))+"}", v)
	}
	return zh, true
}
