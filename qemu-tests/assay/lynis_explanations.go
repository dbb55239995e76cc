package assay

// explanation says why a suggestion of lynis is not followed.
type explanation struct {
	id    string // of lynis' test
	about string // part of the suggestion; empty is all of them
	why   string
}

// explanations are the answers to everything that lynis still suggests on the
// example. An entry must be true of the image, not merely plausible.
var explanations = []explanation{
	{"LYNIS", "", "lynis' own age says nothing about the machine"},
}
