package images

import (
	"context"
	"path/filepath"

	"ingot/layers"
)

// AuditTree returns the tree with lynis and ssh-audit, of the versions that the
// lock names. A build does not make it.
func AuditTree(ctx context.Context, plan layers.Plan, opts Options) (string, error) {
	b := &builder{opts: opts}
	if err := CheckHost(); err != nil {
		return "", err
	}
	lock, err := b.lock(ctx, plan)
	if err != nil {
		return "", err
	}
	dir, err := b.tree(ctx, lock, TreeAudit)
	return filepath.Join(dir, "tree"), err
}
