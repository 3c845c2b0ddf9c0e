export interface KernelSignature {
  name: string;
  bindings: {
    kind: string;
    index: number;
    structure: string | null;
    array: boolean;
    writable: boolean;
    name: string;
  }[];
}

export function headersIn(folder: string): string[];

export function translate(files: { name: string; text: string }[]): {
  code: string;
  signatures: KernelSignature[];
};
