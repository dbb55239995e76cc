package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Savevm stores the whole machine, memory and disks, under a name in the
// overlay. The machine is frozen meanwhile, about 0.3 s for a small server.
func (v *VM) Savevm(ctx context.Context, name string) error {
	nodes, err := v.snapshotNodes()
	if err != nil {
		return fmt.Errorf("saving snapshot %s: %w", name, err)
	}
	if err := v.snapshotJob(ctx, "snapshot-save", name, nodes); err != nil {
		return fmt.Errorf("saving snapshot %s: %w", name, err)
	}
	return nil
}

// Loadvm puts the whole machine back to a snapshot. It then runs if it ran
// before the call. Its clock is the snapshot's: set it.
func (v *VM) Loadvm(ctx context.Context, name string) error {
	nodes, err := v.snapshotNodes()
	if err != nil {
		return fmt.Errorf("loading snapshot %s: %w", name, err)
	}
	if err := v.snapshotJob(ctx, "snapshot-load", name, nodes); err != nil {
		return fmt.Errorf("loading snapshot %s: %w", name, err)
	}
	return nil
}

// snapshotNodes are all disks the guest can write to. A raw one is refused:
// memory and disk would disagree after a restore.
func (v *VM) snapshotNodes() ([]string, error) {
	nodes := []string{diskNode}
	if v.cfg.Firmware == UEFI {
		nodes = append(nodes, varsNode)
	}
	for i, d := range v.cfg.ExtraDisks {
		if d.Format == Raw && !d.Overlay {
			return nil, fmt.Errorf("%s is raw and cannot hold a snapshot: attach it over an overlay or as qcow2", d.Path)
		}
		nodes = append(nodes, extraNode(i))
	}
	return nodes, nil
}

type snapshotArgs struct {
	JobID   string   `json:"job-id"`
	Tag     string   `json:"tag"`
	VMState string   `json:"vmstate"`
	Devices []string `json:"devices"`
}

type jobInfo struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Error  string `json:"error"`
}

type jobArgs struct {
	ID string `json:"id"`
}

// snapshotJob starts a job and waits for its end; the job itself knows whether
// it failed, the command that starts it does not.
func (v *VM) snapshotJob(ctx context.Context, command, tag string, nodes []string) error {
	id := fmt.Sprintf("%s-%d", command, v.jobs.Add(1))
	end := v.qmp.subscribe(func(e qmpEvent) bool { return concluded(e, id) })
	defer v.qmp.cancel(end)
	args := snapshotArgs{JobID: id, Tag: tag, VMState: diskNode, Devices: nodes}
	if err := v.qmp.run(ctx, command, args, nil); err != nil {
		return err
	}
	if _, err := v.qmp.await(ctx, end); err != nil {
		return err
	}
	var jobs []jobInfo
	if err := v.qmp.run(ctx, "query-jobs", nil, &jobs); err != nil {
		return err
	}
	if err := v.qmp.run(ctx, "job-dismiss", jobArgs{id}, nil); err != nil {
		return err
	}
	for _, j := range jobs {
		if j.ID == id && j.Error != "" {
			return errors.New(j.Error)
		}
	}
	return nil
}

func concluded(e qmpEvent, id string) bool {
	var j jobInfo
	return e.Name == "JOB_STATUS_CHANGE" && json.Unmarshal(e.Data, &j) == nil && j.ID == id && j.Status == "concluded"
}
