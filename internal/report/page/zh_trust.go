package page

// zhTrust are sentences about runs that are made again.
var zhTrust = []message{
	{"This is attempt %d: those before it decided nothing, and are kept in %s.", "这是第 {1} 次尝试：之前的几次没有定论，保留在 {2} 中。"},
}
