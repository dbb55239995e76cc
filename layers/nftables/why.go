package nftables

import (
	"fmt"
	"strings"
	"unicode"
)

// maxWhy is the longest comment of a rule in bytes: NFTNL_UDATA_COMMENT_MAXLEN
// in libnftnl is 128 with the terminator.
const maxWhy = 127

// whyProblem says why a text cannot be the comment of a rule. nft's strings
// have no escapes: a quote would end the comment and begin a rule.
func whyProblem(why string) string {
	switch {
	case strings.TrimSpace(why) == "":
		return "an open port needs a reason"
	case strings.ContainsAny(why, "\r\n"):
		return "the reason must be one line"
	case strings.ContainsFunc(why, unfit):
		return "the reason holds a quote, a backslash or an unprintable character"
	case len(why) > maxWhy:
		return fmt.Sprintf("the reason is longer than %d bytes", maxWhy)
	}
	return ""
}

func unfit(r rune) bool { return r == '"' || r == '\\' || !unicode.IsPrint(r) }

// comment makes any text fit for a comment. What Validate accepts passes
// unchanged; the reasons of other layers' ports are never seen by it.
func comment(why string) string {
	clean := strings.Map(func(r rune) rune {
		if unfit(r) {
			return ' '
		}
		return r
	}, why)
	if len(clean) > maxWhy {
		clean = strings.ToValidUTF8(clean[:maxWhy], "")
	}
	return clean
}
