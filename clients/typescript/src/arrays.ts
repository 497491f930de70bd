/**
 * Arrays: typed, flat, with a shape; on the wire base64 of little-endian elements (as every JavaScript engine in use
 * keeps them).
 */

export type TypedArray = Uint8Array | Int32Array | Float32Array | Float64Array;

/** Numbers in lists of equal lengths. */
export type NestedNumbers = readonly (number | NestedNumbers)[];

/** What is taken for an array: an {@link NdArray}, a typed array (one axis), or nested lists. */
export type ArrayLike = NdArray<TypedArray> | TypedArray | NestedNumbers;

/** An array as it travels. */
export interface WireArray {
  readonly dtype: "uint8" | "int32" | "int64" | "float16" | "float32" | "float64";
  readonly shape: readonly number[];
  readonly data: string;
}

/** An array in C order: `data` holds the elements, `shape` the length of each axis. */
export class NdArray<Data extends TypedArray = Float32Array> {
  readonly data: Data;
  readonly shape: readonly number[];

  /** Throws RangeError where the shape does not hold as many elements as there are. */
  constructor(data: Data, shape: readonly number[]) {
    if (shape.reduce((product, size) => product * size, 1) !== data.length) {
      throw new RangeError(`shape [${shape.join(", ")}] does not hold ${data.length} elements`);
    }
    this.data = data;
    this.shape = shape;
  }

  /** Element `index` of the first axis, of which a negative one counts from the end; shares the memory. */
  at(index: number): NdArray<Data> {
    const [length = 0, ...rest] = this.shape;
    const position = index < 0 ? length + index : index;
    if (!(position >= 0 && position < length)) throw new RangeError(`no element ${index} of ${length}`);
    const size = this.data.length / length;
    return new NdArray(this.data.subarray(position * size, (position + 1) * size) as Data, rest);
  }

  /** Nested lists; a number where there is no axis. */
  toList(): number | NestedNumbers {
    if (this.shape.length === 0) return this.data[0] as number;
    return Array.from({ length: this.shape[0] ?? 0 }, (_, index) => this.at(index).toList());
  }
}

/** By name, because each page and frame of a browser has constructors of its own. */
const DTYPES: Readonly<Record<string, WireArray["dtype"]>> = {
  "[object Uint8Array]": "uint8",
  "[object Int32Array]": "int32",
  "[object Float32Array]": "float32",
  "[object Float64Array]": "float64",
};

function dtype(value: unknown): WireArray["dtype"] | undefined {
  return DTYPES[Object.prototype.toString.call(value)];
}

export function isTypedArray(value: unknown): value is TypedArray {
  return dtype(value) !== undefined;
}

/** Whether these are pixels or files, and not latents. */
export function isBytes(value: unknown): value is Uint8Array {
  return dtype(value) === "uint8";
}

/** Write an array; nested lists travel as they are. */
export function toWire(array: ArrayLike): WireArray | NestedNumbers {
  if (isTypedArray(array)) return toWire(new NdArray(array, [array.length]));
  if (!(array instanceof NdArray)) return array;
  const { data, shape } = array;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { dtype: dtype(data) as WireArray["dtype"], shape, data: toBase64(bytes) };
}

export function isWireArray(value: unknown): value is WireArray {
  return typeof value === "object" && value !== null && "dtype" in value && "shape" in value && "data" in value;
}

/** Read an array; what a server answers is float32 or float64, and becomes float32 as in the Python client. */
export function fromWire(array: WireArray): NdArray {
  const { buffer } = fromBase64(array.data);
  if (array.dtype === "float32") return new NdArray(new Float32Array(buffer), array.shape);
  if (array.dtype === "float64") return new NdArray(Float32Array.from(new Float64Array(buffer)), array.shape);
  throw new TypeError(`an array of ${array.dtype} is not read by this client`);
}

const CHUNK = 0x8000; // as many arguments as every engine takes

/** `btoa` and `atob` are what browsers and Node have in common. */
export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let start = 0; start < bytes.length; start += CHUNK) {
    text += String.fromCharCode(...bytes.subarray(start, start + CHUNK));
  }
  return btoa(text);
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
