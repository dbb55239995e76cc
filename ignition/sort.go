package ignition

import (
	"cmp"
	"slices"

	"ingot/layers"
)

// sorted returns the fragment with its entries in the order of their names, so
// that the order of layers does not show in the bytes. Kernel arguments keep
// theirs: it means something.
func sorted(f layers.Fragment) layers.Fragment {
	f.Files = sortedBy(f.Files, func(v layers.File) string { return v.Path })
	f.Directories = sortedBy(f.Directories, func(v layers.Directory) string { return v.Path })
	f.Links = sortedBy(f.Links, func(v layers.Link) string { return v.Path })
	f.Users = sortedBy(f.Users, func(v layers.User) string { return v.Name })
	f.Groups = sortedBy(f.Groups, func(v layers.Group) string { return v.Name })
	f.Units = sortedBy(f.Units, func(v layers.Unit) string { return v.Name })
	for i, u := range f.Units {
		f.Units[i].Dropins = sortedBy(u.Dropins, func(v layers.Dropin) string { return v.Name })
	}
	return f
}

// sortedBy sorts a copy: the plan belongs to the caller.
func sortedBy[T any](list []T, key func(T) string) []T {
	return slices.SortedStableFunc(slices.Values(list), func(a, b T) int { return cmp.Compare(key(a), key(b)) })
}
