package scan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ossf/osv-schema/bindings/go/osvschema"
	cvss20 "github.com/pandatix/go-cvss/20"
	cvss30 "github.com/pandatix/go-cvss/30"
	cvss31 "github.com/pandatix/go-cvss/31"
	cvss40 "github.com/pandatix/go-cvss/40"
	"google.golang.org/protobuf/types/known/structpb"
)

// Severity is how bad a vulnerability is.
type Severity string

// The severities. Unrated has neither a score nor a word of its database.
// Unimportant is Debian's word for what is no vulnerability of the package as
// Debian builds it.
const (
	Unimportant Severity = "unimportant"
	Unrated     Severity = "unrated"
	Low         Severity = "low"
	Medium      Severity = "medium"
	High        Severity = "high"
	Critical    Severity = "critical"
)

var severities = []Severity{Unimportant, Unrated, Low, Medium, High, Critical}

func (s Severity) rank() int { return slices.Index(severities, s) }

// ParseSeverity reads the least severity that counts.
func ParseSeverity(s string) (Severity, error) {
	if slices.Contains(severities, Severity(s)) {
		return Severity(s), nil
	}
	return "", fmt.Errorf("%q is no severity; use unimportant, unrated, low, medium, high or critical", s)
}

// severity is what a record says: Debian's own word where it has one, else the
// highest score, else a word of the database.
func severity(t Target, r *osvschema.Vulnerability) (Severity, float64) {
	scores := slices.Clone(r.GetSeverity())
	var words []string
	for _, a := range about(t, r) {
		scores = append(scores, a.GetSeverity()...)
		words = append(words, word(a.GetEcosystemSpecific(), "urgency"), word(a.GetDatabaseSpecific(), "severity"))
	}
	words = append(words, word(r.GetDatabaseSpecific(), "severity"))
	highest := 0.0
	for _, s := range scores {
		highest = max(highest, score(s.GetScore()))
	}
	if slices.Contains(words, "unimportant") {
		return Unimportant, highest
	}
	if highest > 0 {
		return rated(highest), highest
	}
	worst := Unrated
	for _, w := range words {
		if w == "moderate" { // GitHub's
			w = string(Medium)
		}
		if s := Severity(w); s.rank() > worst.rank() {
			worst = s
		}
	}
	return worst, 0
}

func word(s *structpb.Struct, field string) string {
	return strings.ToLower(s.GetFields()[field].GetStringValue())
}

// rated is the word for a score, CVSS 3.1 §5.
func rated(score float64) Severity {
	switch {
	case score >= 9:
		return Critical
	case score >= 7:
		return High
	case score >= 4:
		return Medium
	}
	return Low
}

// score is that of a CVSS vector, 0 for what is none.
func score(vector string) float64 {
	switch {
	case strings.HasPrefix(vector, "CVSS:4.0/"):
		if v, err := cvss40.ParseVector(vector); err == nil {
			return v.Score()
		}
	case strings.HasPrefix(vector, "CVSS:3.1/"):
		if v, err := cvss31.ParseVector(vector); err == nil {
			return v.BaseScore()
		}
	case strings.HasPrefix(vector, "CVSS:3.0/"):
		if v, err := cvss30.ParseVector(vector); err == nil {
			return v.BaseScore()
		}
	default:
		if v, err := cvss20.ParseVector(vector); err == nil {
			return v.BaseScore()
		}
	}
	return 0
}
