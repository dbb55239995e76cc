package layers

import (
	"fmt"
	"strings"
	"unicode"
)

// MaxWhy is the longest reason of a port in bytes. It becomes the comment of a
// firewall rule: NFTNL_UDATA_COMMENT_MAXLEN in libnftnl is 128 with the
// terminator.
const MaxWhy = 127

// WhyProblem says why a text cannot be the reason of a port, which becomes the
// comment of a rule. nft's strings have no escapes: a quote would end the
// comment and begin a rule. It returns "" when the text can.
func WhyProblem(why string) string {
	switch {
	case strings.TrimSpace(why) == "":
		return "an open port needs a reason"
	case strings.ContainsAny(why, "\r\n"):
		return "the reason must be one line"
	case strings.ContainsFunc(why, UnfitForComment):
		return "the reason holds a quote, a backslash or an unprintable character"
	case len(why) > MaxWhy:
		return fmt.Sprintf("the reason is longer than %d bytes", MaxWhy)
	}
	return ""
}

// UnfitForComment reports characters that would end a quoted text or are not
// text at all.
func UnfitForComment(r rune) bool { return r == '"' || r == '\\' || !unicode.IsPrint(r) }
