// A dialog that keeps the focus and gives it back: the browser's own <dialog>.
import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

export function Dialog({ title, onClose, children, kind = "" }: { title: string; onClose: () => void; children: ComponentChildren; kind?: string }): JSX.Element {
  const ref = useRef<HTMLDialogElement>(null);
  // Open before the next key arrives: an effect waits for a frame, and on a busy machine the first letters would go elsewhere.
  useLayoutEffect(() => {
    const before = document.activeElement;
    ref.current?.showModal();
    return () => before instanceof HTMLElement && before.focus();
  }, []);
  return (
    <dialog ref={ref} class={kind} aria-label={title} onClose={onClose} onClick={(event) => event.target === ref.current && ref.current?.close()}>
      {children}
    </dialog>
  );
}
