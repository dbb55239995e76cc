package nftables

import (
	"strings"

	"ingot/layers"
)

const maxWhy = layers.MaxWhy

func whyProblem(why string) string { return layers.WhyProblem(why) }

func unfit(r rune) bool { return layers.UnfitForComment(r) }

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
